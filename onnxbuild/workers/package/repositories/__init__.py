"""Model repositories: folders in which Triton and OpenVINO Model Server find models and their versions."""
