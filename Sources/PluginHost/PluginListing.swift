/// A plugin that was found, or a file that should hold one and does not.
public struct PluginListing: Encodable, Equatable, Sendable {
    /// What users type; nil if the file did not load.
    public var id: String?
    /// What it is for, in words.
    public var kind: String?
    public var version: String?
    /// What it does, in a line.
    public var description: String?
    /// The file, or the folder that could not be read.
    public var path: String
    /// Why the file did not load.
    public var error: String?
    /// What is wrong with a folder that was read all the same.
    public var warning: String?
    /// The file that its name means instead, where that is another one or this one was listed before.
    public var shadowedBy: String?

    enum CodingKeys: String, CodingKey {
        case id, kind, version, description, path, error, warning
        case shadowedBy = "shadowed_by"
    }
}
