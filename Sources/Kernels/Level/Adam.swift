import KernelTable

func adam(
    _ p: UnsafeMutablePointer<Float>, _ g: UnsafePointer<Float>, _ m: UnsafeMutablePointer<Float>,
    _ v: UnsafeMutablePointer<Float>, _ count: Int, _ step: AdamStep
) {
    let keep1 = V(repeating: step.beta1), new1 = V(repeating: 1 - step.beta1)
    let keep2 = V(repeating: step.beta2), new2 = V(repeating: 1 - step.beta2)
    let scale = V(repeating: step.gradientScale), along = V(repeating: -step.along)
    let size = V(repeating: -step.stepSize), correction = V(repeating: step.inverseRootCorrection)
    let epsilon = V(repeating: step.epsilon)
    var i = 0
    while i + 16 <= count {
        let parameter = load(p, i)
        let gradient = multiplyAdd(scale * load(g, i), along, parameter)
        let first = multiplyAdd(keep1 * load(m, i), new1, gradient)
        let second = multiplyAdd(keep2 * load(v, i), new2, gradient * gradient)
        store(first, m, i)
        store(second, v, i)
        store(multiplyAdd(parameter, size, first / (second.squareRoot() * correction + epsilon)), p, i)
        i += 16
    }
    while i < count {
        let gradient = multiplyAdd(step.gradientScale * g[i], -step.along, p[i])
        let first = multiplyAdd(step.beta1 * m[i], new1[0], gradient)
        let second = multiplyAdd(step.beta2 * v[i], new2[0], gradient * gradient)
        m[i] = first
        v[i] = second
        let root = second.squareRoot() * step.inverseRootCorrection + step.epsilon
        p[i] = multiplyAdd(p[i], -step.stepSize, first / root)
        i += 1
    }
}
