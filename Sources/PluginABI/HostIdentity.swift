/// What the host calls itself to plugins.
package enum HostIdentity {
    package static let name = "dmsae"
    /// The version of what it offers to plugins.
    package static let version = "0.3.0"
}
