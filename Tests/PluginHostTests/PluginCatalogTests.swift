import Foundation
import PluginABI
import PluginHost
import PluginTestSupport
import PluginWorkers
import TestSupport
import Testing

struct PluginCatalogTests {
    let folder: TemporaryFolder
    let services = Services()

    init() throws { folder = TemporaryFolder() }

    @Test func `the list holds the shipped plugins with kind, version and description`() throws {
        let list = try PluginCatalog().list(services: services.value)
        #expect(
            list.compactMap(\.id).sorted() == [
                "ablation", "batchtopk", "expected-gradients", "frequency", "gxa", "ig", "jumprelu", "logit", "mattr",
                "norm",
                "random", "reconstruction", "relp", "shapley", "topk",
            ])
        let gxa = try #require(list.first { $0.id == "gxa" })
        #expect(gxa.kind == "scorer" && gxa.version == "1.0.0" && gxa.error == nil)
        #expect(gxa.path.hasSuffix("/libdmsae-plugin-gxa.so"))
        #expect(list.first { $0.id == "batchtopk" }?.kind == "sparsity rule")
    }

    @Test func `the list shows files and folders that give no plugin, with the reason`() throws {
        _ = try faultyPlugin(in: folder, name: "b")
        try "no plugin".write(toFile: folder.file("a.so"), atomically: true, encoding: .utf8)
        try "ignored".write(toFile: folder.file("notes.txt"), atomically: true, encoding: .utf8)
        let empty = TemporaryFolder()
        let list = PluginCatalog(executableFolder: empty.path, searchPath: [folder.path, "/nowhere"]).list(
            services: services.value)
        #expect(list.map(\.id) == [nil, "first", "second", "rule", nil])
        #expect(list[0].path == folder.file("a.so"))
        #expect(list[0].error?.contains("is not a shared object") == true)
        #expect(list[1].path == folder.file("b.so"))
        #expect(list[4].path == "/nowhere")
        #expect(list[4].error?.contains("No such file or directory") == true)
    }

    @Test func `beside the executable only files named as plugins count`() throws {
        _ = try faultyPlugin(in: folder, name: "other")
        #expect(PluginCatalog(executableFolder: folder.path).list(services: services.value).isEmpty)
        _ = try faultyPlugin(in: folder, name: "libdmsae-plugin-mine")
        #expect(
            PluginCatalog(executableFolder: folder.path).list(services: services.value).map(\.id) == [
                "first", "second", "rule",
            ])
    }

    @Test func `shipped plugins of an installation are in lib beside its bin`() throws {
        for name in ["bin", "lib", "lib/dmsae"] { try #require(mkdir(folder.file(name), 0o755) == 0) }
        _ = try faultyPlugin(in: folder, name: "bin/libdmsae-plugin-stray")
        let path = try faultyPlugin(in: folder, name: "lib/dmsae/libdmsae-plugin-first")
        let catalog = PluginCatalog(executableFolder: folder.file("bin"))
        #expect(Set(catalog.list(services: services.value).map(\.path)) == [path])
        #expect(catalog.isShipped(path))
        #expect(try catalog.scorer("first", services: services.value).path == path)
    }

    @Test func `a name is found in any file of the search path, shipped ones first`() throws {
        _ = try faultyPlugin(in: folder, name: "anything")
        _ = try faultyPlugin(["FIRST_ID=\"gxa\""], in: folder, name: "impostor")
        let shipped = try PluginCatalog()
        let catalog = PluginCatalog(executableFolder: shipped.shippedFolder, searchPath: [folder.path])
        #expect(try catalog.scorer("second", services: services.value).path == folder.file("anything.so"))
        #expect(
            try catalog.scorer("gxa", services: services.value).path
                == shipped.shippedFolder + "/libdmsae-plugin-gxa.so")
    }

    @Test func `a name that is nowhere lists the folders and the names that are there`() throws {
        _ = try faultyPlugin(in: folder, name: "libdmsae-plugin-mine")
        try "no plugin".write(toFile: folder.file("libdmsae-plugin-bad.so"), atomically: true, encoding: .utf8)
        let catalog = PluginCatalog(executableFolder: folder.path)
        do {
            _ = try catalog.scorer("gax", services: services.value)
            Issue.record("found")
        } catch {
            #expect(
                "\(error)"
                    == "no plugin named 'gax' in '\(folder.path)'; there are 'first', 'second', 'rule', and 1 that did not "
                    + "load (see `dmsae plugin list`); correct the name, give a path ending in .so or .py, or add a folder to "
                    + "DMSAE_PLUGIN_PATH")
        }
    }

    @Test func `what is wrong with the file called after the name is the error`() throws {
        try "no plugin".write(toFile: folder.file("libdmsae-plugin-bad.so"), atomically: true, encoding: .utf8)
        #expect(
            throws: PluginFileError.notASharedObject(
                path: folder.file("libdmsae-plugin-bad.so"), found: "a file of another format")
        ) { try PluginCatalog(executableFolder: folder.path).scorer("bad", services: services.value) }
    }

    @Test func `parameters of a reference reach the plugin and stay readable for the record`() throws {
        let scorer = try PluginCatalog().scorer("random,seed=12", services: services.value)
        #expect(scorer.name == "random" && scorer.version == "1.0.0")
        #expect(scorer.parameters.map(\.key) == ["seed"] && scorer.parameters.map(\.value) == ["12"])
    }

    @Test func `a folder that is missing is named and does not stop names in others`() throws {
        _ = try faultyPlugin(in: folder, name: "anything")
        let catalog = PluginCatalog(executableFolder: "/usr", searchPath: ["/nowhere", folder.path])
        #expect(try catalog.scorer("second", services: services.value).path == folder.file("anything.so"))
        #expect(
            services.messages.map { "\($0.plugin): \($0.text)" } == [
                "folder /nowhere: DMSAE_PLUGIN_PATH names it, and it cannot be read as a folder: No such file or directory; "
                    + "correct the variable"
            ])
    }

    @Test func `a folder that everybody may write to is warned of, in a search and in the list`() throws {
        _ = try faultyPlugin(in: folder, name: "anything")
        chmod(folder.path, 0o777)
        let catalog = PluginCatalog(executableFolder: "/usr", searchPath: [folder.path])
        _ = try catalog.scorer("second", services: services.value)
        let words =
            "every user of this machine can put plugins into this folder; chmod o-w it once you trust its content"
        #expect(services.messages.map(\.text) == [words])
        #expect(catalog.list(services: services.value).first { $0.path == folder.path }?.warning == words)
    }

    @Test func `what a name does not mean is marked in the list`() throws {
        let other = TemporaryFolder()
        _ = try faultyPlugin(in: folder, name: "anything")
        _ = try faultyPlugin(in: other, name: "libdmsae-plugin-second")
        let catalog = PluginCatalog(executableFolder: "/usr", searchPath: [folder.path, other.path, other.path])
        let list = catalog.list(services: services.value)
        let named = other.file("libdmsae-plugin-second.so"), first = folder.file("anything.so")
        #expect(list.map(\.id) == ["first", "second", "rule", "first", "second", "rule", "first", "second", "rule"])
        // The file called after a plugin comes before those that hold it by chance.
        #expect(list.map(\.shadowedBy) == [nil, named, nil, first, nil, first, first, named, first])
        #expect(try catalog.scorer("second", services: services.value).path == named)
        #expect(try catalog.scorer("first", services: services.value).path == first)
    }
}
