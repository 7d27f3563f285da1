/**
 * A disk of a stopped machine, held for being replaced: nobody else can read or write it until `close`, which resolves only
 * when what was written is durable.
 */
import { BlockError, claimDevice, growImage, openImageInPlace, openNbd, type SourceDescriptor } from '#engine/block'
import type { ReplaceTarget } from '../threads/replace-runner.ts'
import { nameOfPlace } from './restore-mark.ts'

/** An image file or block device by path, or an NBD export, whose server answers for nobody else using it. */
export type InPlaceTarget =
  | Readonly<{ kind: 'image'; path: string; format: 'raw' | 'qcow2' }>
  | Exclude<SourceDescriptor, { kind: 'file' }>

export type HeldTarget = Readonly<{
  name: string
  format: string
  sizeBytes: number
  address: ReplaceTarget
  close: () => Promise<void>
}>

/** @throws image_in_use, image_backing_refused, target_read_only, and what else opening raises */
export async function holdTarget(target: InPlaceTarget, signal?: AbortSignal): Promise<HeldTarget> {
  if (target.kind !== 'image') return holdExport(target)
  const { path, format } = target
  const claim = await claimDevice(path, 'Unmount it; it cannot be replaced under whoever uses it.')
  try {
    const served = await openImageInPlace(path, format, signal === undefined ? {} : { signal })
    const { socketPath, exportName, client } = served
    const close = async (): Promise<void> => {
      try {
        await served.close()
      } finally {
        await claim?.close()
      }
    }
    const address = { kind: 'nbd', socketPath, exportName } as const
    return { name: path, format, sizeBytes: client.sizeBytes, address, close }
  } catch (error) {
    await claim?.close()
    throw error
  }
}

async function holdExport(target: ReplaceTarget): Promise<HeldTarget> {
  const { kind: _, ...address } = target
  const client = await openNbd(address)
  const { sizeBytes, isReadOnly } = client
  await client.close()
  const name = nameOfPlace(target)
  if (isReadOnly) throw new BlockError('target_read_only', `${name} takes no writes.`, { facts: { target: name } })
  return { name, format: 'nbd', sizeBytes, address: target, close: async () => undefined }
}

/** Opens it anew, as large as the disk is to be. Between the two nobody holds it. @throws target_size_differs */
export async function growTarget(target: InPlaceTarget, held: HeldTarget, sizeBytes: number): Promise<HeldTarget> {
  if (target.kind !== 'image') throw sizeDiffers(held, sizeBytes, 'Make it larger by whatever serves it.')
  await held.close()
  await growImage(target.path, target.format, sizeBytes)
  return holdTarget(target)
}

export function sizeDiffers(held: HeldTarget, diskBytes: number, hint: string): BlockError {
  const message = `${held.name} has ${held.sizeBytes} bytes; the disk of the point has ${diskBytes}.`
  return new BlockError('target_size_differs', message, {
    facts: { target: held.name, targetBytes: held.sizeBytes, diskBytes },
    hint: `Nothing was written. ${hint}`,
  })
}
