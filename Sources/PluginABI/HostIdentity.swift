import CDMSAE

/// What the host calls itself to plugins.
package enum HostIdentity {
    package static let name = "dmsae"
    /// The version of what it offers to plugins.
    package static let version = "\(DMSAE_ABI_MAJOR).\(DMSAE_ABI_MINOR).0"
    /// The version of the program and of all that is packed with it.
    package static let program = DMSAE_VERSION
}
