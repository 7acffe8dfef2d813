/// Something that a rank computes with for rank 0: its latents of an SAE in training, a language model for its share of the sequences.
///
/// The program runs on rank 0. What it computes with there is made of services, one on each of the other ranks, which do what they are
/// ordered to in the order in which they are. They know no options, recipes or files but those that an order names.
package protocol RankService: AnyObject {
    /// Carries out an order, which may be a meeting of all ranks, or be answered.
    func perform(_ order: inout RankMessage) throws
}

/// Makes a service of what rank 0 says of it.
package typealias RankServiceMaker = (RankGroup, inout RankMessage) throws -> any RankService

/// The first number of each message to a rank that serves.
private enum Verb: UInt8 {
    /// A service of the kind that follows, with the number that follows.
    case make
    /// An order to one.
    case perform
    /// One that is not needed any more.
    case release
    /// The program is done.
    case dismiss
}

extension RankGroup {
    private func send(_ verb: Verb, _ id: Int, to rank: Int, _ message: RankMessage = RankMessage()) throws(RankError) {
        var all = RankMessage()
        all.write(verb.rawValue)
        all.write(id)
        all.append(message)
        try send(all, to: rank)
    }

    // MARK: Rank 0

    /// Makes a service on every other rank, which gets `message` of it, and returns its number.
    package func make(_ kind: String, _ message: (Int) throws -> RankMessage) throws -> Int {
        let id = nextService()
        for rank in 1..<count {
            var all = RankMessage()
            all.write(kind)
            all.append(try message(rank))
            try send(.make, id, to: rank, all)
        }
        return id
    }

    /// Gives service `id` of each other rank its order; those without a message get none.
    package func order(_ id: Int, _ message: (Int) throws -> RankMessage?) throws {
        try together {
            for rank in 1..<count {
                if let message = try message(rank) { try send(.perform, id, to: rank, message) }
            }
        }
    }

    /// Gives all of them the same order.
    package func order(_ id: Int, all message: RankMessage) throws { try order(id) { _ in message } }

    /// Lets services go. After a failure they go with the job; one here is the next order's to say.
    package func release(_ id: Int) {
        try? together { for rank in 1..<count { try send(.release, id, to: rank) } }
    }

    /// Lets the other ranks end; after a failure they have to be ended. One here is `failure` afterwards.
    package func dismiss() {
        try? together { for rank in 1..<count { try send(.dismiss, 0, to: rank) } }
    }

    /// What `ranks` answer to orders, after `own` was done meanwhile. All answers are taken in, whatever happens, so that the ranks
    /// can go on with other things after a failure, which is then rank 0's own, or else that of the lowest rank.
    ///
    /// With patience, whenever they answer.
    ///
    /// - Throws: what `own` throws; `RankError`.
    package func answers<Value>(
        of ranks: [Int], patiently: Bool = false, while own: () throws -> Value
    ) throws -> (Value, [RankMessage]) {
        let result = Result { try own() }
        var (messages, failure) = ([RankMessage](), RankError?.none)
        for rank in ranks {
            var message = try together { try receive(from: rank, patiently: patiently) }
            if message.read(Bool.self) {
                messages.append(message)
            } else if failure == nil {
                failure = .failed(rank: rank, reason: message.read())
            }
        }
        let value = try result.get()
        if let failure { throw failure }
        return (value, messages)
    }

    // MARK: The others

    /// Does what rank 0 orders until it says that the program is done. `makers` make services by kind.
    ///
    /// - Throws: what a service throws: the job cannot go on then.
    package func serve(_ makers: [String: RankServiceMaker]) throws {
        var services: [Int: any RankService] = [:]
        while true {
            var order = try receive(from: 0, patiently: true)
            let (verb, id) = (Verb(rawValue: order.read()), order.read(Int.self))
            switch verb {
            case .make:
                let kind = order.read(String.self)
                guard let maker = makers[kind] else { preconditionFailure("no service is called \(kind)") }
                // Known as a failure before anything is let go that waits for the others when it ends.
                services[id] = try together { try maker(self, &order) }
            case .perform:
                guard let service = services[id] else { preconditionFailure("an order to service \(id)") }
                try together { try service.perform(&order) }
            case .release: services[id] = nil
            case .dismiss: return
            case nil: preconditionFailure("an order that is none")
            }
        }
    }

    /// Answers rank 0 with what `body` writes, or with why it could not.
    package func answer(_ body: (inout RankMessage) throws -> Void) throws {
        var message = RankMessage()
        message.write(true)
        do {
            try body(&message)
        } catch {
            message = RankMessage()
            message.write(false)
            message.write("\(error)")
        }
        // Rank 0 takes it in when its own work is done.
        try send(message, to: 0, patiently: true)
    }
}
