"""Model folders: what a network is, its weights, and their digests. torch is imported only to build one."""

from cisterna.models.folder import (
    Model,
    ModelError,
    amend_model_folder,
    demo_models,
    install_model,
    load_model,
    read_model,
    read_model_folder,
    write_model_folder,
)

__all__ = [
    "Model",
    "ModelError",
    "amend_model_folder",
    "demo_models",
    "install_model",
    "load_model",
    "read_model",
    "read_model_folder",
    "write_model_folder",
]
