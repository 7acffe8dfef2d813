/// A weight W `[out, in]` on a card.
enum DeviceWeight {
    case single(DeviceMatrix)
    case rounded(RoundedMatrix)

    var rows: Int {
        switch self {
        case .single(let matrix): matrix.rows
        case .rounded(let matrix): matrix.rows
        }
    }

    var columns: Int {
        switch self {
        case .single(let matrix): matrix.columns
        case .rounded(let matrix): matrix.columns
        }
    }

    var slice: DeviceSlice {
        switch self {
        case .single(let matrix): matrix.slice
        case .rounded(let matrix): matrix.slice
        }
    }
}
