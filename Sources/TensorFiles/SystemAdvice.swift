import Glibc

/// What may help against a failure of the system, found by the system's own words for it: they are what errors carry.
public enum SystemAdvice {
    /// For a file or folder that could not be read; nil for reasons that are not the system's.
    public static func reading(_ reason: String) -> String? { advice(reason, reading) }

    /// The same, or `other` for a path where nothing is and for reasons that are not the system's.
    public static func reading(_ reason: String, else other: String) -> String {
        reason == String(cString: strerror(ENOENT)) ? other : reading(reason) ?? other
    }

    /// For one that could not be written; nil for reasons that are not the system's.
    public static func writing(_ reason: String) -> String? { advice(reason, writing) }

    private static func advice(_ reason: String, _ own: [Int32: String]) -> String? {
        for table in [own, common] {
            // A limit that stands in the way is named behind the system's words.
            if let found = table.first(where: { reason.hasPrefix(String(cString: strerror($0.key))) }) {
                return found.value
            }
        }
        return nil
    }

    private static let reading: [Int32: String] = [
        ENOENT: "check the path", EACCES: "change the permissions, or run as somebody who may read it",
        EPERM: "change the permissions, or run as somebody who may read it", EISDIR: "give a file, not a folder",
        ENODEV: "give a file of an ordinary file system", EOVERFLOW: "use a 64-bit file system",
        EIO: "the disk fails to give it back: copy it from elsewhere",
        EBADF: "it is closed or open for writing only: open it for reading",
    ]

    private static let writing: [Int32: String] = [
        ENOENT: "the folder it belongs in does not exist: make it first, or choose another place",
        EACCES: "choose a folder in which you may write, or change its permissions",
        EPERM: "choose a folder in which you may write, or change its permissions",
        EISDIR: "give a name for a file; this is a folder's", ENOSPC: "make room on that disk, or choose another",
        EDQUOT: "your quota is used up: make room, or choose another disk",
        EROFS: "that file system cannot be written to: choose another place",
        EFBIG: "the file is larger than allowed: raise the limit (ulimit -f), or choose another file system",
        EIO: "the disk fails: choose another", EBADF: "it is closed or open for reading only: open it for writing",
        EPIPE: "who reads it has gone away",
    ]

    private static let common: [Int32: String] = [
        ENOTDIR: "a part of the path is a file where a folder is needed: correct the path",
        ENAMETOOLONG: "the name is too long: shorten it", ELOOP: "its links lead back to themselves: correct them",
        EMFILE: "too many files are open: raise the limit (ulimit -n)",
        ENFILE: "the whole machine has too many files open: close some",
        ENOMEM: "memory is short: free some, or raise the limit (ulimit -v)", ESTALE: "mount the file system again",
        ETXTBSY: "it is being executed: stop that first, or choose another name",
    ]
}
