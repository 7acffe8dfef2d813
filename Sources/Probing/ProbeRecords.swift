/// A sparse probe as sae-probes writes it, one of a list in
/// `sae_probes_MODEL/normal_setting/TASK_HOOK_l2.json`.
package struct SparseProbeRecord: Encodable, Sendable {
    package let test_f1, test_acc, test_auc, val_auc: Double
    package let k: Int
    package let dataset, hook_name: String
    package let reg_type = "l2"
    package let binarize = false
    package let indices: [Int]

    /// Of a task at a hook.
    package init(_ found: ProbedTask.SparseProbe, task: String, hook: String) {
        let probe = found.probe
        (test_f1, test_acc, test_auc, val_auc) = (probe.test_f1, probe.test_acc, probe.test_auc, probe.val_auc)
        (k, dataset, hook_name, indices) = (found.latents.count, task, hook, found.latents)
    }
}

/// A probe of activations as sae-probes writes it, alone in a list in
/// `baseline_results_MODEL/normal_setting/TASK_HOOK_logreg.json`.
package struct DenseProbeRecord: Encodable, Sendable {
    package let test_f1, test_acc, test_auc, val_auc: Double
    package let dataset, hook_name: String
    package let method = "logreg"
    package let num_train: Int

    /// Of a task at a hook.
    package init(_ task: ProbedTask, hook: String) {
        let probe = task.dense
        (test_f1, test_acc, test_auc, val_auc) = (probe.test_f1, probe.test_acc, probe.test_auc, probe.val_auc)
        (dataset, hook_name, num_train) = (task.name, hook, task.trainCount)
    }
}
