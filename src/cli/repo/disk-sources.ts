/**
 * The disks of a backup that is told them one by one, held still while they are read.
 *
 * An image file or device is served by a storage daemon that holds QEMU's image locks until `close`: an image that a
 * machine runs on is refused (`image_in_use`), and no machine can start on one that is being read. Where its bytes lie
 * plainly in the file they are read from there, else through the daemon. Whoever serves an NBD export answers for its
 * standing still.
 */
import { HoldfastError, isHoldfastError } from '#base'
import type { DeviceClaim, ImageFormat, SourceDescriptor } from '#engine/block'
import type { DiskArgument } from './disk-argument.ts'

export type HeldDisk = Readonly<{ lun: number; format: string; sizeBytes: number; source: SourceDescriptor }>
export type HeldDisks = Readonly<{ disks: readonly HeldDisk[]; close: () => Promise<void> }>
type Options = Readonly<{ stateFolder: string; allowBackingIn: readonly string[]; signal: AbortSignal }>
type Holding = Readonly<{ disk: HeldDisk; close: () => Promise<void> }>

/** Opens and locks all, or none. @throws image_in_use and whatever else opening raises */
export async function holdDisks(wanted: readonly DiskArgument[], options: Options): Promise<HeldDisks> {
  const holdings: Holding[] = []
  const close = async (): Promise<void> => {
    for (const holding of holdings) await holding.close()
  }
  try {
    for (const disk of wanted) holdings.push(await holdDisk(disk, options))
  } catch (error) {
    await close().catch(() => {
      // Nothing was written; why it could not be opened is what matters.
    })
    throw error
  }
  return { disks: holdings.map(({ disk }) => disk), close }
}

async function holdDisk({ lun, source }: DiskArgument, options: Options): Promise<Holding> {
  const { refuseMarked } = await import('#engine/transfer')
  await refuseMarked(source, options.stateFolder)
  if (source.kind === 'image') return holdImage(lun, source.path, source.format, options)
  const { openSource } = await import('#engine/block')
  const opened = await openSource(source, { signal: options.signal })
  const { sizeBytes } = opened
  await opened.close()
  return { disk: { lun, format: 'nbd', sizeBytes, source }, close: async () => undefined }
}

async function holdImage(
  lun: number,
  path: string,
  named: ImageFormat | undefined,
  options: Options,
): Promise<Holding> {
  const { claimDevice } = await import('#engine/block')
  const claim = await claimDevice(path, 'Unmount it, or back a snapshot of it up (lvcreate --snapshot).')
  try {
    return await holdOpened(lun, path, named, options, claim)
  } catch (error) {
    await claim?.close()
    throw error
  }
}

async function holdOpened(
  lun: number,
  path: string,
  named: ImageFormat | undefined,
  options: Options,
  claim: DeviceClaim | undefined,
): Promise<Holding> {
  const { exportImage, mapImage, probeImageFormat } = await import('#engine/block')
  const format = named ?? (await probeImageFormat(path))
  const served = await exportImage(path, format, options).catch((error: unknown) => {
    throw withHint(error)
  })
  try {
    const mapped = await mapImage(path, format, options)
    const { sizeBytes } = mapped
    const { socketPath, exportName } = served
    const source: SourceDescriptor =
      mapped.kind === 'direct'
        ? { kind: 'file', path, sizeBytes, map: mapped.map }
        : { kind: 'nbd', socketPath, exportName }
    const close = async (): Promise<void> => {
      await served.close()
      await claim?.close()
    }
    return { disk: { lun, format, sizeBytes, source }, close }
  } catch (error) {
    await served.close()
    throw error
  }
}

const HINTS: Readonly<Record<string, string>> = {
  image_in_use: 'A running machine is backed up through its QMP socket: use --qmp SOCKET instead of --disk.',
  image_backing_refused:
    'Allow the folder that the other file lies in with --allow-backing-in, if you trust this image.',
}

function withHint(error: unknown): unknown {
  if (!isHoldfastError(error)) return error
  const hint = HINTS[error.code]
  if (hint === undefined) return error
  const { code, message, facts, retry } = error
  return new HoldfastError(code, message, { facts, retry, hint, cause: error })
}
