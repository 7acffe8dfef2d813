// m = c(⟨x, w₁⟩) − c(⟨x, w₂⟩) of each row x of d numbers, w₂ only where there are two `words`, c(l) = cap·tanh(l/cap) where there is a cap.
// A warp has a row. `dx`, if there is one, receives v·(c′w₁ − c′w₂) with the row's weight v.
extern "C" __global__ void __launch_bounds__(256) measureRows(
    const float4 *x, const float4 *words, int count, float cap, const float *weights, int rows, int d4, float4 *dx,
    float *values) {
    int row = blockIdx.x * warps() + warp();
    if (row >= rows) return;
    size_t at = (size_t)row * d4;
    float logits[2] = {0, 0}, slopes[2] = {1, 0};
    if (count > 1) slopes[1] = -1;
    for (int i = 0; i < count; i++) {
        float sum = 0;
        for (int c = lane(); c < d4; c += 32) sum += dot4(x[at + c], __ldg(words + i * d4 + c));
        logits[i] = warpSum(sum);
        if (cap > 0) {
            float t = tanhf(logits[i] / cap);
            logits[i] = cap * t;
            slopes[i] *= 1 - t * t;
        }
    }
    if (lane() == 0) values[row] = logits[0] - logits[1];
    if (!dx) return;
    float weight = weights[row];
    for (int c = lane(); c < d4; c += 32) {
        float4 sum = scaled(__ldg(words + c), weight * slopes[0]);
        if (count > 1) addScaled(sum, weight * slopes[1], __ldg(words + d4 + c));
        dx[at + c] = sum;
    }
}
