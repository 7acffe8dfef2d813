/// The rules of the headers that no check carries, and why: with those of the checks, all there are.
public enum UncheckedRules {
    /// A rule that binds the host, which its own tests hold.
    private static let host = "binds the host"
    /// A rule for those who change the headers.
    private static let headers =
        "binds the headers from one version to the next; the tests of the recorded ABI hold them"

    /// Why each of them is not checked.
    public static let reasons: [String: String] = [
        "DMSAE-CSR-01": host, "DMSAE-CSR-02": host, "DMSAE-CSR-03": host,
        "DMSAE-CSR-04": "binds the host in what it says of alignment; that all is read-only is checked as "
            + "DMSAE-TENSOR-01",
        "DMSAE-EVAL-01": host, "DMSAE-EVAL-02": host, "DMSAE-EVAL-04": host,
        "DMSAE-GROWTH-03": headers, "DMSAE-GROWTH-04": headers, "DMSAE-GROWTH-05": headers,
        "DMSAE-GROWTH-06": "no enumeration has a value yet that a plugin of this version could not know",
        "DMSAE-MANIFEST-02": "binds readers of manifests",
        "DMSAE-MANIFEST-04":
            "what code takes for granted of a processor is not seen from outside; what it requires is held "
            + "against this machine wherever it is loaded",
        "DMSAE-MANIFEST-05":
            "a file without the name of its sanitizer is loaded or fails as the loader says; one with a name "
            + "is refused by every load that lacks the runtime",
        "DMSAE-SCORER-01": host, "DMSAE-SCORER-06": host,
        "DMSAE-SCORER-12": host
            + "; a validator's batches, whose codes are drawn, have an encoder that does not make them",
        "DMSAE-SCORER-13": host, "DMSAE-SCORER-14": host, "DMSAE-SCORER-16": host,
        "DMSAE-STATE-01": host,
        "DMSAE-STATE-04": "binds the host, which goes back to a copy",
        "DMSAE-STATE-05": "about two versions of a plugin, of which a file holds one",
        "DMSAE-STATUS-01": "from outside nothing makes a sound plugin fail in a call, but being asked to stop",
        "DMSAE-TENSOR-02": host, "DMSAE-TENSOR-03": host,
        "DMSAE-VERSION-02": headers,
    ]
}
