/** Every bound in one place, each with its reason. Sizes in bytes, times in milliseconds. */

export const KIB = 1024
export const MIB = 1024 * KIB
export const GIB = 1024 * MIB
export const TIB = 1024 * GIB

/** The unit in which disks are addressed; virtual sizes are a multiple of it (QEMU BDRV_SECTOR_SIZE). */
export const SECTOR_BYTES = 512

/** Azure's largest managed disk is 64 TiB (Ultra, Premium v2); nothing larger is accepted anywhere. */
export const DISK_BYTES_MAX = 64 * TIB

/** Chunk sizes are powers of two in this range; measured: 64 KiB costs 35 % CPU, 1 MiB gains 0.2 % of size. */
export const CHUNK_BYTES_MIN = 64 * KIB
export const CHUNK_BYTES_MAX = 4 * MIB
export const CHUNK_BYTES_DEFAULT = 256 * KIB

/** Azure: 64 data disks and one OS disk on the largest sizes. */
export const MACHINE_DISKS_MAX = 65
