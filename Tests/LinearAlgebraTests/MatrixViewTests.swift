import LinearAlgebra
import TestSupport
import Testing

@Suite struct MatrixViewTests {
    /// Element (r, c) by the definition.
    private func element(_ view: MatrixView, _ r: Int, _ c: Int, isTransposed: Bool) -> Float {
        isTransposed ? view.pointer[c * view.stride + r] : view.pointer[r * view.stride + c]
    }

    @Test func partsBeginWhereTheirElementsAre() {
        let a = randomMatrix(7, 11)
        let part = a.view.rows(2..<6).columns(3..<8)
        #expect(part.rows == 4 && part.columns == 5 && part.stride == 11)
        let turned = a.view.transposed.rows(3..<8).columns(2..<6)
        #expect(turned.rows == 5 && turned.columns == 4 && turned.stride == 11)
        let again = turned.transposed
        for r in 0..<4 {
            for c in 0..<5 {
                let expected = a[r + 2, c + 3]
                #expect(element(part, r, c, isTransposed: false) == expected)
                #expect(element(turned, c, r, isTransposed: true) == expected)
                #expect(element(again, r, c, isTransposed: false) == expected)
            }
        }
        let written = a.mutableView.rows(2..<6).columns(3..<8)
        #expect(written.pointer == a.elements + 2 * 11 + 3 && written.rows == 4 && written.columns == 5)
        #expect(written.stride == 11 && written.view.pointer == part.pointer && written.view.stride == 11)
        extendLifetime(a)
    }

    /// In a process of its own each: a part that is none, rows that overlap, shapes that do not fit.
    @Test func mistakesStopTheProgram() async {
        await #expect(processExitsWith: .failure) { _ = Matrix(rows: 2, columns: 3).view.rows(1..<3) }
        await #expect(processExitsWith: .failure) { _ = Matrix(rows: 2, columns: 3).view.transposed.columns(1..<3) }
        await #expect(processExitsWith: .failure) { _ = Matrix(rows: 2, columns: 3).mutableView.columns(1..<4) }
        await #expect(processExitsWith: .failure) {
            let a = Matrix(rows: 2, columns: 3)
            _ = MatrixView(a.elements, rows: 2, columns: 3, stride: 2)
        }
        await #expect(processExitsWith: .failure) {
            let (a, b, c) = (Matrix(rows: 2, columns: 3), Matrix(rows: 2, columns: 3), Matrix(rows: 2, columns: 2))
            multiplyOnLane(a.view, b.view, into: c.mutableView)
        }
        await #expect(processExitsWith: .failure) {
            let (a, b, c) = (Matrix(rows: 2, columns: 3), Matrix(rows: 3, columns: 2), Matrix(rows: 2, columns: 3))
            Lanes.shared.multiply(a.view, b.view, into: c.mutableView)
        }
        await #expect(processExitsWith: .failure) {
            let (a, b, c) = (Matrix(rows: 2, columns: 3), Matrix(rows: 3, columns: 2), Matrix(rows: 3, columns: 2))
            Lanes.shared.multiply(a.view, b.view, into: c.mutableView)
        }
    }
}
