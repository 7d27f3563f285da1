/** engine/block: random access to the bytes of disks, over NBD and in image files. */
export type { BlockDevice, BlockSource, BlockTarget, FileMap, FileRun, SourceDescriptor } from './device.ts'
export { BLOCK_ERROR_CODES, BlockError, type BlockErrorCode } from './errors.ts'
export { alignRanges, assertRanges, type ByteRange, type Extent, type ExtentKind, totalBytes } from './extent.ts'
