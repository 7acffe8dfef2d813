/// Paths are text as the user gave it, since messages show them so. Of swift-system's `FilePath`, which tidies them up,
/// these three would be all that is used, for a package to build.

/// The folder that a path is in: "." for a bare name, "/" for what lies at the root.
public func parentFolder(of path: String) -> String {
    guard let slash = path.lastIndex(of: "/") else { return "." }
    return slash == path.startIndex ? "/" : String(path[..<slash])
}

/// What follows the last "/" of a path: the name of a file in its folder, empty where only a folder can be meant.
func nameInFolder(_ path: String) -> String {
    path.lastIndex(of: "/").map { String(path[path.index(after: $0)...]) } ?? path
}

/// The last name in a path, whether or not a "/" follows it; the path itself where there is none.
public func lastComponent(_ path: String) -> String { path.split(separator: "/").last.map(String.init) ?? path }
