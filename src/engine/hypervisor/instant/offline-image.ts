/**
 * Images of stopped machines, through qemu-img: their size, their bitmaps, and changes to these. Every call takes the image's
 * locks for its duration, so an image in use is `disk_in_use`, never touched. The format is always named, never probed.
 *
 * There is no transaction over images here, so each change is ordered such that a crash between any two leaves a state
 * that tracking.ts reads correctly: merge before enable, enable before remove, add before disable.
 */
import { isHoldfastError } from '#base'
import { checkCommand } from '#runtime'
import { HypervisorError } from '../errors.ts'
import { asCount, asObject, isObject, type JsonObject, textOr } from '../qmp/shape.ts'
import type { StoppedImage } from './journal.ts'
import type { Verdict } from './dismantle.ts'
import type { BitmapState, TrackedDisk, TrackingDecision } from './tracking.ts'

export type ImageFile = Readonly<{ path: string; format: 'qcow2' | 'raw' }>

export type OfflineImage = TrackedDisk &
  Readonly<{
    sizeBytes: number
    /** Its bytes lie in the file itself: no backing image, no encryption. */
    isSelfContained: boolean
  }>

/** qcow2's flags of a bitmap: `in-use` was not closed cleanly, `auto` records (docs/interop/qcow2.txt). */
function bitmapOf(entry: JsonObject): BitmapState {
  const flags = Array.isArray(entry['flags']) ? entry['flags'] : []
  return {
    name: textOr(entry['name'], ''),
    recording: flags.includes('auto') && !flags.includes('in-use'),
    busy: false,
    inconsistent: flags.includes('in-use'),
    persistent: true,
    granularityBytes: asCount(entry['granularity'], 'the granularity of a bitmap'),
  }
}

async function qemuImg(args: readonly string[], image: ImageFile): Promise<Buffer> {
  try {
    return (await checkCommand('qemu-img', args)).stdout
  } catch (cause) {
    if (!isHoldfastError(cause, 'command_failed') || !/lock/.test(String(cause.facts['stderr']))) throw cause
    throw new HypervisorError('disk_in_use', `The image ${image.path} is in use by another program.`, {
      facts: { path: image.path },
      retry: 'later',
      hint: 'The machine runs: take the instant through its monitor.',
      cause,
    })
  }
}

/** @throws `disk_in_use`, or what qemu-img said about an image that it cannot read. */
export async function readOfflineImage(image: ImageFile): Promise<OfflineImage> {
  const output = await qemuImg(['info', '--output=json', '-f', image.format, image.path], image)
  const info = asObject(JSON.parse(output.toString()), 'the description of an image')
  const specific = isObject(info['format-specific']) ? info['format-specific'] : {}
  const data = isObject(specific['data']) ? specific['data'] : {}
  const bitmaps = Array.isArray(data['bitmaps']) ? data['bitmaps'].filter(isObject) : []
  return {
    sizeBytes: asCount(info['virtual-size'], 'the size of an image'),
    isSelfContained:
      info['full-backing-filename'] === undefined && info['encrypted'] !== true && !('data-file' in data),
    keepsBitmaps: image.format === 'qcow2' && data['compat'] !== '0.10',
    bitmaps: bitmaps.map(bitmapOf),
  }
}

/** One run of `qemu-img bitmap`: its operations on `bitmap`, in this order, written when the image is closed. */
export type BitmapEdit = Readonly<{ bitmap: string; operations: readonly string[] }>

export async function editBitmaps(image: ImageFile, edits: readonly BitmapEdit[]): Promise<void> {
  for (const { bitmap, operations } of edits) {
    await qemuImg(['bitmap', ...operations, '-f', image.format, image.path, bitmap], image)
  }
}

/** What makes an image's bitmaps ready for the instant. A format that keeps none has none to change. Pure. */
export function openingEdits(decision: TrackingDecision, granularityBytes: number): BitmapEdit[] {
  if (!decision.persistent) return []
  const edits: BitmapEdit[] = []
  const { heal } = decision
  if (heal !== undefined) {
    edits.push({ bitmap: heal.into, operations: [...heal.from.flatMap((name) => ['--merge', name]), '--enable'] })
  }
  for (const name of [...decision.remove, ...(heal?.from ?? [])]) edits.push({ bitmap: name, operations: ['--remove'] })
  if (decision.next !== undefined) {
    edits.push({ bitmap: decision.next, operations: ['--add', '-g', String(granularityBytes)] })
  }
  if (decision.previous !== undefined) edits.push({ bitmap: decision.previous, operations: ['--disable'] })
  return edits
}

/** What brings an image's bitmaps to the verdict, from the state they are in. Pure. */
export function closingEdits(
  tracking: Pick<TrackingDecision, 'previous' | 'next'>,
  found: readonly BitmapState[],
  verdict: Exclude<Verdict, 'undecided'>,
): BitmapEdit[] {
  const previous = found.find((bitmap) => bitmap.name === tracking.previous)
  const next = found.find((bitmap) => bitmap.name === tracking.next)
  if (verdict === 'commit') return previous === undefined ? [] : [{ bitmap: previous.name, operations: ['--remove'] }]
  if (next === undefined) return []
  const remove = { bitmap: next.name, operations: ['--remove'] }
  const usable = previous !== undefined && !previous.inconsistent && !next.inconsistent
  if (!usable || previous.recording) return [remove]
  return [{ bitmap: previous.name, operations: ['--merge', next.name, '--enable'] }, remove]
}

/** Settles one image. One that is in use meanwhile is left alone: the next instant reads its state as an interrupted attempt. */
export async function settleImage(image: StoppedImage, verdict: Exclude<Verdict, 'undecided'>): Promise<void> {
  if (!image.tracking.persistent) return
  try {
    const { bitmaps } = await readOfflineImage(image)
    await editBitmaps(image, closingEdits(image.tracking, bitmaps, verdict))
  } catch (error) {
    if (!isHoldfastError(error, 'disk_in_use')) throw error
  }
}
