/// What a program has its workers do beside their own requests, as a validator does; registered where it
/// serves as a worker.
package protocol WorkerExtension: AnyObject {
    /// The file of a plugin is about to be loaded, for a request that asks to be watched.
    func fileWillLoad() throws
    /// It is loaded, and nothing of it was created.
    func fileIsLoaded()
    /// Answers a request of the kind `extended`.
    func answer(_ arena: Arena, in worker: PluginWorker) throws
}
