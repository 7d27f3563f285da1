/**
 * Where the bytes of an image's disk lie in its file, as `qemu-img map` tells. `direct` maps are read by `openFileSource`
 * without QEMU; an image that cannot be read so (compressed clusters, a backing file, several files, formats whose offsets
 * QEMU does not tell) is `indirect` and is served by `exportImage`.
 */
import { MIB } from '#base'
import type { FileMap, FileRun } from '../device.ts'
import { fileShape } from '../device-size.ts'
import { checkFileMap, identityMap } from '../file-map.ts'
import { invalidImage } from './image-errors.ts'
import type { ImageFormat } from './image-format.ts'
import { type ImageInfo, inspectImage, type InspectOptions, openable } from './inspect-image.ts'
import { jsonName, type OpenableImage, streamQemuImg } from './qemu-img.ts'

/** `direct`: read the file at the map's offsets. `indirect`: serve it by `exportImage`; `reason` is for people. */
export type ImageMap =
  | Readonly<{ kind: 'direct'; sizeBytes: number; map: FileMap }>
  | Readonly<{ kind: 'indirect'; sizeBytes: number; reason: string }>

/** A map of more runs than this (some 400 MiB of memory) is not worth having; NBD serves such an image as well. */
const RUNS_MAX = 4 * MIB
/** No line of `qemu-img map` is longer than this. */
const LINE_CHARS_MAX = 1000

type MapLine = Readonly<{
  start: number
  length: number
  depth: number
  present: boolean
  zero: boolean
  data: boolean
  offset?: number
}>

/** Inspects and maps. @throws BlockError as `inspectImage` */
export async function mapImage(path: string, format: ImageFormat, options: InspectOptions = {}): Promise<ImageMap> {
  return await mapInspectedImage(await inspectImage(path, format, options))
}

/** As {@link mapImage}, for an image that has just been inspected. */
export async function mapInspectedImage(info: ImageInfo): Promise<ImageMap> {
  const sizeBytes = info.virtualSizeBytes
  if (info.backing !== undefined) return { kind: 'indirect', sizeBytes, reason: 'It is an overlay of another image.' }
  if (info.format === 'vmdk')
    return { kind: 'indirect', sizeBytes, reason: 'A VMDK may keep its data in several files.' }
  if (info.isBlockDevice && info.isFlat) return { kind: 'direct', sizeBytes, map: identityMap(sizeBytes) }
  const { path, isBlockDevice } = info
  // A fixed VHD is mapped as the raw file that it is; what lies behind its disk (the footer) is cut off.
  const image: OpenableImage = info.isFlat ? { path, format: 'raw', isBlockDevice } : openable(info)
  const fileBytes = (await fileShape(path)).sizeBytes
  const dataEnd = info.isFlat ? Math.min(sizeBytes, fileBytes) : fileBytes
  const collected = await collectRuns(image, { isFlat: info.isFlat, dataEnd })
  if (typeof collected === 'string') return { kind: 'indirect', sizeBytes, reason: collected }
  const map: FileMap = { runs: collected }
  checkFileMap(map, sizeBytes, path)
  return { kind: 'direct', sizeBytes, map }
}

/** The runs, or the reason why there are none. */
async function collectRuns(
  image: OpenableImage,
  limits: Readonly<{ isFlat: boolean; dataEnd: number }>,
): Promise<FileRun[] | string> {
  const runs: FileRun[] = []
  let refusal: string | undefined
  const stop = new Error('The rest of the map is not needed.')
  try {
    await streamQemuImg(image.path, ['map', '--output=json', jsonName(image)], (text) => {
      const line = parseLine(image.path, text)
      if (line === undefined) return
      const run = runOf(line, limits)
      if (typeof run === 'string') refusal = run
      else if (run !== undefined) append(runs, run)
      if (runs.length > RUNS_MAX) refusal = 'Its allocation is too fragmented to be mapped.'
      if (refusal !== undefined) throw stop
    })
  } catch (error) {
    if (error !== stop) throw error
  }
  return refusal ?? runs
}

function parseLine(path: string, text: string): MapLine | undefined {
  const bare = text
    .trim()
    .replace(/^\[/, '')
    .replace(/[\],]+$/, '')
  if (bare === '') return undefined
  if (bare.length > LINE_CHARS_MAX) throw invalidImage(path, 'has an allocation map that cannot be read.')
  let line: unknown
  try {
    line = JSON.parse(bare)
  } catch (cause) {
    throw Object.assign(invalidImage(path, 'has an allocation map that cannot be read.'), { cause })
  }
  if (!isMapLine(line)) throw invalidImage(path, 'has an allocation map that cannot be read.')
  return line
}

function isMapLine(value: unknown): value is MapLine {
  if (typeof value !== 'object' || value === null) return false
  const line = value as Partial<Record<keyof MapLine, unknown>>
  const numbers = [line.start, line.length, line.depth].every((n) => typeof n === 'number')
  const flags = [line.zero, line.data].every((flag) => typeof flag === 'boolean')
  return numbers && flags && (line.offset === undefined || typeof line.offset === 'number')
}

/** A run, nothing for a hole, or the reason why the image cannot be read directly. */
function runOf(line: MapLine, limits: Readonly<{ isFlat: boolean; dataEnd: number }>): FileRun | string | undefined {
  const { start, length, offset } = line
  if (line.depth > 0) return 'It is an overlay of another image.'
  if (line.data && !line.zero) {
    if (offset === undefined) return 'Some of its clusters are compressed or not readable in place.'
    const inFile = Math.min(length, limits.dataEnd - offset)
    return inFile <= 0 ? undefined : { start, length: inFile, kind: 'data', fileOffset: offset }
  }
  if (!line.zero) return 'Some of its parts have no defined content.'
  // A hole of a raw file is no allocation, whatever QEMU calls it.
  const isAllocated = line.present && !limits.isFlat
  return isAllocated ? { start, length, kind: 'zero', fileOffset: 0 } : undefined
}

function append(runs: FileRun[], run: FileRun): void {
  const last = runs.at(-1)
  const continues =
    last !== undefined &&
    last.kind === run.kind &&
    last.start + last.length === run.start &&
    (run.kind === 'zero' || last.fileOffset + last.length === run.fileOffset)
  if (continues) runs[runs.length - 1] = { ...last, length: last.length + run.length }
  else runs.push(run)
}
