"""Serves a small model with llama.cpp: MODEL, PORT and NAME by environment."""
import os
import signal

import xllamacpp

params = xllamacpp.CommonParams()
params.model.path = os.environ["MODEL"]
params.model_alias = {os.environ["NAME"]}
params.hostnames = ["127.0.0.1"]
params.port = int(os.environ["PORT"])
params.n_ctx = 8192
params.n_parallel = 4
# One thread: more of them wait for each other in a loop, and on a busy machine that is ten times slower.
params.cpuparams.n_threads = 1
params.cpuparams_batch.n_threads = 1
params.warmup = False
params.cors_origins = ""
# With a pooling type, one server answers chat and embeddings both.
params.embedding = True
params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
server = xllamacpp.Server(params)
signal.pause()
