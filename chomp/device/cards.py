"""GPUs by name, as data: what XLA needs to compile for one that is not in this machine, and its published rates.

Sizes, clocks and limits of A100, H100, H200, RTX PRO 6000 and B200 are those of XLA's own descriptions
(`xla/backends/gpu/target_config/specs` in openxla/xla); those of GeForce cards are from NVIDIA's Ada and Blackwell
architecture papers and the limits of their compute capability in the CUDA C++ Programming Guide. Links are those of
NVIDIA's data sheets, halved where those count both directions: NVLink 3, 4 and 5 of A100, H100, H200 and B200, and 16
lanes of PCIe 4 or 5.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Card:
    """A GPU.

    Attributes:
        name: on the command line.
        device_kind: as JAX names the device.
        capability: compute capability.
        memory_bytes: what the driver reports; a run gets a share of it, see `POOL_FRACTION`.
        bandwidth: bytes per second between memory and chip.
        link: bytes per second to other cards of the same machine, each way: NVLink, or PCIe of cards without it.
        bf16_flops: dense matrix products in bf16 with sums in fp32, per second.
        fp32_flops: products and sums in fp32 outside the tensor cores, per second.
        cores: streaming multiprocessors.
        shared_per_core, shared_per_block: bytes of shared memory.
        threads_per_core: at most, on one multiprocessor.
        l2_bytes: of the second-level cache.
        clock_ghz: at most.
    """

    name: str
    device_kind: str
    capability: tuple[int, int]
    memory_bytes: int
    bandwidth: float
    link: float
    bf16_flops: float
    fp32_flops: float
    cores: int
    shared_per_core: int
    shared_per_block: int
    threads_per_core: int
    l2_bytes: int
    clock_ghz: float

    @property
    def tf32_flops(self) -> float:
        """Products of fp32 numbers on the tensor cores, rounded to 10 bits: half the bf16 rate on all these cards."""
        return self.bf16_flops / 2

    @property
    def pool_bytes(self) -> int:
        """What JAX takes of the memory by default."""
        return int(self.memory_bytes * POOL_FRACTION)

    def target_config(self) -> str:
        """XLA's `GpuTargetConfigProto` in text form."""
        major, minor = self.capability
        # From Hopper on XLA compiles for the architecture-specific features of data-centre chips (sm_90a, sm_100a).
        extension = "ACCELERATED_FEATURES" if (major, minor) in ((9, 0), (10, 0)) else "NONE"
        return _TARGET.format(
            card=self, major=major, minor=minor, extension=extension, fpus=64 if self.capability == (8, 0) else 128
        )


HOW_TO_INSTALL = "install chomp's extra gpu-aot (pip install 'chomp[gpu-aot]', 4 GB); no driver and no GPU are needed"
# XLA_CLIENT_MEM_FRACTION, unless the user sets it.
POOL_FRACTION = 0.75
_TERA = 1e12

_TARGET = """
gpu_device_info {{
  threads_per_block_limit: 1024
  threads_per_warp: 32
  shared_memory_per_block: 49152
  shared_memory_per_core: {card.shared_per_core}
  shared_memory_per_block_optin: {card.shared_per_block}
  threads_per_core_limit: {card.threads_per_core}
  core_count: {card.cores}
  fpus_per_core: {fpus}
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  thread_dim_limit_x: 1024
  thread_dim_limit_y: 1024
  thread_dim_limit_z: 64
  memory_bandwidth: {card.bandwidth:.0f}
  l2_cache_size: {card.l2_bytes}
  clock_rate_ghz: {card.clock_ghz}
  device_memory_size: {card.memory_bytes}
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
  cuda_compute_capability {{ major: {major} minor: {minor} feature_extension: {extension} }}
}}
platform_name: "CUDA"
dnn_version_info {{ major: 9 minor: 20 }}
runtime_version {{ major: 13 minor: 0 }}
device_description_str: "{card.device_kind}"
"""

CARDS = {
    card.name: card
    for card in (
        Card(
            "rtx4090", "NVIDIA GeForce RTX 4090", (8, 9), 25_393_692_672, 1008e9, 32e9, 165.2 * _TERA, 82.6 * _TERA,
            128, 102_400, 101_376, 1536, 75_497_472, 2.52,
        ),
        Card(
            "rtx5090", "NVIDIA GeForce RTX 5090", (12, 0), 34_190_917_632, 1792e9, 64e9, 209.5 * _TERA, 104.8 * _TERA,
            170, 102_400, 101_376, 1536, 100_663_296, 2.41,
        ),
        Card(
            "rtx6000pro", "NVIDIA RTX PRO 6000 Blackwell Workstation Edition", (12, 0), 103_079_215_104, 1792e9, 64e9,
            503.8 * _TERA, 125 * _TERA, 188, 131_072, 101_376, 1536, 134_217_728, 2.6,
        ),
        Card(
            "a100", "NVIDIA A100-SXM4-80GB", (8, 0), 85_100_068_864, 2039.04e9, 300e9, 312 * _TERA, 19.5 * _TERA,
            108, 167_936, 166_912, 2048, 41_943_040, 1.41,
        ),
        Card(
            "h100", "NVIDIA H100 80GB HBM3", (9, 0), 84_942_979_072, 3352.32e9, 450e9, 989.4 * _TERA, 66.9 * _TERA,
            132, 233_472, 232_448, 2048, 52_428_800, 1.98,
        ),
        Card(
            "h200", "NVIDIA H200", (9, 0), 151_397_597_184, 4800e9, 450e9, 989.4 * _TERA, 66.9 * _TERA,
            132, 233_472, 232_448, 2048, 52_428_800, 1.98,
        ),
        Card(
            "b200", "NVIDIA B200", (10, 0), 191_514_411_008, 7672.32e9, 900e9, 2250 * _TERA, 80 * _TERA,
            148, 233_472, 232_448, 2048, 132_644_864, 1.965,
        ),
    )
}  # fmt: skip
