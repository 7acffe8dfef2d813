/// Asks about latents, several questions at a time: of each first for the explanation, then whether it fits.
package struct AutointerpRun {
    private let settings: AutointerpSettings
    private let queue: ChatQueue

    package init(_ settings: AutointerpSettings, _ queue: ChatQueue) { (self.settings, self.queue) = (settings, queue) }

    /// A latent that is being asked about.
    private struct Latent {
        let plan: LatentPlan
        var explaining: ExplainedLatent.Exchange?
        var exchanges: [ScoringMethod: [ExplainedLatent.Exchange?]] = [:]
        var missing = 0
    }

    /// Which answer a number stands for.
    private enum Place {
        case explanation(latent: Int)
        case judgement(latent: Int, ScoringMethod, batch: Int, prompt: String)
    }

    /// Asks about each plan. Begun latents come before others, so that a run which is cut short leaves few of them half done.
    ///
    /// - Parameters:
    ///   - finished: gets each latent as it is finished, in whatever order.
    ///   - progress: gets the requests of each step.
    ///   - check: throws to stop.
    /// - Throws: `ChatError`; what the functions throw.
    package func ask(
        _ plans: [LatentPlan], finished: (ExplainedLatent) throws -> Void, progress: (Int) throws -> Void,
        check: () throws -> Void
    ) throws {
        var latents: [Latent] = []
        var places: [Int: Place] = [:]
        var next = plans[...]
        var number = 0
        func send(_ request: ChatRequest, _ place: Place) {
            places[number] = place
            queue.ask(request, number: number)
            number += 1
        }
        while true {
            // Another latent is begun only where the questions about those that are begun leave a place empty.
            while queue.count < queue.concurrency, let plan = next.popFirst() {
                latents.append(Latent(plan: plan))
                send(plan.explaining(settings), .explanation(latent: latents.count - 1))
            }
            if queue.count == 0 { return }
            for (answered, answer) in try queue.answers(check: check) {
                guard let place = places.removeValue(forKey: answered) else { continue }
                try progress(1)
                let index: Int
                switch place {
                case .explanation(let latent):
                    index = latent
                    let plan = latents[latent].plan
                    latents[latent].explaining = .init(
                        prompt_sha256: Prompts.digest(plan.explaining(settings).messages), answer: answer)
                    guard let explanation = Prompts.explanation(in: answer) else {
                        let lost = settings.methods.reduce(0) { $0 + plan.batches($1, settings).count }
                        try progress(lost)
                        break
                    }
                    for method in settings.methods {
                        let requests = plan.judging(method, explanation, settings)
                        latents[latent].exchanges[method] = requests.map { _ in nil }
                        latents[latent].missing += requests.count
                        for (batch, request) in requests.enumerated() {
                            send(
                                request,
                                .judgement(
                                    latent: latent, method, batch: batch, prompt: Prompts.digest(request.messages)))
                        }
                    }
                case .judgement(let latent, let method, let batch, let prompt):
                    index = latent
                    latents[latent].exchanges[method]?[batch] = .init(prompt_sha256: prompt, answer: answer)
                    latents[latent].missing -= 1
                }
                let latent = latents[index]
                if latent.missing == 0, let explaining = latent.explaining {
                    try finished(
                        latent.plan.explained(explaining, latent.exchanges.mapValues { $0.compactMap { $0 } }, settings)
                    )
                    // Its answers are no longer needed.
                    latents[index].exchanges = [:]
                }
            }
        }
    }
}
