import CDMSAE

/// A status as its author wrote it, or its number if this version has no name for it.
package func statusName(_ status: Int32) -> String {
    switch dmsae_status(rawValue: status) {
    case .DMSAE_OK: "DMSAE_OK"
    case .DMSAE_CANCELLED: "DMSAE_CANCELLED"
    case .DMSAE_ERR_FAILED: "DMSAE_ERR_FAILED"
    case .DMSAE_ERR_INVALID_ARGUMENT: "DMSAE_ERR_INVALID_ARGUMENT"
    case .DMSAE_ERR_UNKNOWN_PARAMETER: "DMSAE_ERR_UNKNOWN_PARAMETER"
    case .DMSAE_ERR_UNSUPPORTED: "DMSAE_ERR_UNSUPPORTED"
    case .DMSAE_ERR_OUT_OF_MEMORY: "DMSAE_ERR_OUT_OF_MEMORY"
    case .DMSAE_ERR_INSTANCE_LOST: "DMSAE_ERR_INSTANCE_LOST"
    case .DMSAE_BUDGET_EXHAUSTED: "DMSAE_BUDGET_EXHAUSTED"
    default: "status \(status)"
    }
}
