"""The workloads, a file each, in the order of the table."""

from benchmarks.workload import Workload
from benchmarks.workloads import (
    w2a_call,
    w2b_update,
    w3a_eager,
    w3b_eager_gradient,
    w4a_chain,
    w4b_layer_norm,
    w4c_cross_entropy,
    w5a_mlp_adam,
    w5b_mlp_sgd,
    w6_cnn_adam,
    w7_gpt_adamw,
    w8a_lstm,
    w8b_lorenz,
    w9_derivatives,
    w11_matmul,
)

WORKLOADS: tuple[Workload, ...] = (
    w2a_call.WORKLOAD,
    w2b_update.WORKLOAD,
    w3a_eager.WORKLOAD,
    w3b_eager_gradient.WORKLOAD,
    w4a_chain.LONG,
    w4a_chain.SHORT,
    w4b_layer_norm.WORKLOAD,
    w4c_cross_entropy.WORKLOAD,
    w5a_mlp_adam.WORKLOAD,
    w5b_mlp_sgd.WORKLOAD,
    w6_cnn_adam.WORKLOAD,
    w7_gpt_adamw.WORKLOAD,
    w8a_lstm.FORWARD,
    w8a_lstm.GRADIENT,
    w8b_lorenz.VALUE,
    w8b_lorenz.GRADIENT,
    w8b_lorenz.NATURAL,
    w9_derivatives.PER_EXAMPLE,
    *w9_derivatives.DERIVATIVES,
    *w11_matmul.WORKLOADS,
)
