import CIntrinsics

func stream(_ target: UnsafeMutablePointer<Float>, _ source: UnsafePointer<Float>, _ count: Int) {
    dmsae_stream(target, source, Int64(count))
}
