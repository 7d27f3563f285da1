/** engine/block: random access to the bytes of disks, over NBD and in image files. */
export { claimDevice, type DeviceClaim } from './claim-device.ts'
export {
  assertInside,
  type BlockDevice,
  type BlockSource,
  type BlockTarget,
  type FileMap,
  type FileRun,
  type Loan,
  type SourceDescriptor,
} from './device.ts'
export { type FileShape, fileShape } from './device-size.ts'
export { BLOCK_ERROR_CODES, BlockError, type BlockErrorCode } from './errors.ts'
export {
  alignRanges,
  appendExtent,
  assertRanges,
  commonRanges,
  complementOf,
  type ByteRange,
  type Extent,
  type ExtentKind,
  totalBytes,
} from './extent.ts'
export { type Fault, FaultyBlockDevice, type FaultyMethod } from './faulty-block-device.ts'
export { checkFileMap, identityMap } from './file-map.ts'
export { type FileReads, type FileSourceOptions, openFileSource } from './file-source.ts'
export {
  convertImage,
  type ConvertImageOptions,
  createImage,
  type CreateImageOptions,
  createVhdTarget,
  exportImage,
  growImage,
  openImageInPlace,
  openQcow2Target,
  type Qcow2Target,
} from './image/image-files.ts'
export { IMAGE_FORMATS, type ImageFormat, probeImageFormat } from './image/image-format.ts'
export { type ImageInfo, inspectImage, type InspectOptions, readQcow2 } from './image/inspect-image.ts'
export { makeFixedVhdFooter, readVhdFooter, type VhdFooter } from './image/vhd-footer.ts'
export { type ImageMap, mapImage, mapInspectedImage } from './image/map-image.ts'
export { createNbdOverlay, type NbdBacking } from './image/nbd-overlay.ts'
export { createQcow2Overlay, type Qcow2Backing } from './image/qcow2-overlay.ts'
export {
  createQcow2File,
  finishQcow2File,
  QCOW2_DATA_OFFSET,
  qcow2ClustersBytes,
  type Qcow2Range,
} from './image/qcow2-writer.ts'
export type { ServedImage, StorageDaemonOptions } from './image/storage-daemon.ts'
export { MemoryDevice } from './memory-device.ts'
export { type NbdClient, openNbd, type OpenNbdOptions } from './nbd/client.ts'
export type { NbdAddress, NbdTls } from './nbd/connect.ts'
export { dirtyContext, type MetaContext, type MetaExtent, type NbdExport } from './nbd/export.ts'
export { type NbdListen, type NbdServer, serveNbd, type ServeNbdOptions } from './nbd/server.ts'
export type { NbdServerTls } from './nbd/server-tls.ts'
export { openSource, type OpenSourceOptions } from './open-source.ts'
export { createRawTarget, openRawTarget, type RawTargetTail } from './raw-target.ts'
export { type Stamp, stampedBytes } from './sector-stamp.ts'
export { openStagedTarget } from './staged-target.ts'
