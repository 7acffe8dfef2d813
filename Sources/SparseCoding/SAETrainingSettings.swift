/// Keys of a `cfg.json` that say how SAELens trained an SAE and nothing of what it computes: SAELens writes them where
/// it saves an SAE for going on with its training, and before version 3 it wrote the whole configuration of the run.
enum SAETrainingSettings {
    static let keys: Set = losses.union(schedule).union(text).union(run)

    private static let losses: Set = [
        "decoder_init_norm", "l1_coefficient", "lp_norm", "l1_warm_up_steps", "l0_coefficient", "l0_warm_up_steps",
        "pre_act_loss_coefficient", "jumprelu_init_threshold", "jumprelu_bandwidth", "jumprelu_sparsity_loss_mode",
        "jumprelu_tanh_scale", "jumprelu_ste_to_input", "target_l0", "use_sparse_activations", "aux_loss_coefficient",
        "topk_threshold_lr", "use_matryoshka_aux_loss", "use_ghost_grads", "normalize_sae_decoder", "noise_scale",
        "decoder_orthogonal_init", "decoder_heuristic_init", "decoder_heuristic_init_norm", "b_dec_init_method",
        "init_encoder_as_decoder_transpose", "mse_loss_normalization", "scale_sparsity_penalty_by_decoder_norm",
        "expansion_factor", "from_pretrained_path", "finetuning_tokens", "finetuning_method",
    ]

    private static let schedule: Set = [
        "adam_beta1", "adam_beta2", "lr", "lr_decay_steps", "lr_end", "lr_scheduler_name", "lr_warm_up_steps",
        "n_restart_cycles", "training_tokens", "total_training_tokens", "train_batch_size", "train_batch_size_tokens",
        "dead_feature_threshold", "dead_feature_window", "feature_sampling_window", "seed",
    ]

    private static let text: Set = [
        "act_store_device", "cached_activations_path", "use_cached_activations", "is_dataset_tokenized",
        "n_batches_in_buffer", "store_batch_size", "store_batch_size_prompts", "streaming", "tokens_per_buffer",
    ]

    private static let run: Set = [
        "autocast", "autocast_lm", "checkpoint_path", "compile_llm", "compile_sae", "eval_batch_size_prompts",
        "eval_every_n_wandb_logs", "hook_eval", "hook_point_eval", "llm_compilation_mode", "sae_compilation_mode",
        "log_activations_store_to_wandb", "log_optimizer_state_to_wandb", "log_to_wandb", "model_kwargs",
        "n_checkpoints", "n_eval_batches", "resume", "run_name", "verbose", "wandb_entity", "wandb_id",
        "wandb_log_frequency", "wandb_project",
    ]
}
