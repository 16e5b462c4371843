/*
 * The family adapters. Each is given a build whose plan is empty, and completes it.
 */
#ifndef SAMBA_MODEL_FAMILY_H
#define SAMBA_MODEL_FAMILY_H

#include "model/build.h"

/* Hugging Face folders and single safetensors files: by the keys of config.json. In builds without
 * JSON a stand-in refuses them. */
samba_status samba__family_folder(samba__build *b, samba_error **error);
/* GGUF, by general.architecture: "samba" (ours) or "mamba". */
samba_status samba__family_gguf(samba__build *b, samba_error **error);

#endif
