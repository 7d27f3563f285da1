/**
 * Whether an exported disk of an instant can still be read. A broken one looks whole in every query of QEMU; only a read
 * tells. Done by QEMU's own tools in processes of their own (about 40 ms), so that it disturbs no reader's connection.
 */
import { checkCommand, runCommand } from '#runtime'
import { isObject } from '../qmp/shape.ts'
import type { InstantDisk } from '../port.ts'

type NbdSource = Extract<InstantDisk['source'], { kind: 'nbd' }>

const TIMEOUT_MS = 20_000

/**
 * An offset whose bytes belong to the instant: 0 when all do, else the first changed one; undefined when nothing changed.
 * QEMU's NBD client shows a bitmap's dirty extents as holes (`x-dirty-bitmap`, block/nbd.c).
 */
export async function readableOffset(source: NbdSource): Promise<number | undefined> {
  if (source.bitmapContext === undefined) return 0
  const image = `driver=nbd,server.type=unix,server.path=${source.socketPath},export=${source.exportName}`
  const args = ['map', '--output=json', '--image-opts', `${image},x-dirty-bitmap=${source.bitmapContext}`]
  const { stdout } = await checkCommand('qemu-img', args, { timeoutMs: TIMEOUT_MS })
  const extents: unknown = JSON.parse(stdout.toString())
  if (!Array.isArray(extents)) return undefined
  const dirty: unknown = extents.find((extent) => isObject(extent) && extent['data'] === false)
  return isObject(dirty) && typeof dirty['start'] === 'number' ? dirty['start'] : undefined
}

export async function canRead(source: NbdSource, offset: number): Promise<boolean> {
  const uri = `nbd+unix:///${source.exportName}?socket=${source.socketPath}`
  const read = ['-r', '-f', 'raw', '-c', `read -q ${offset} 512`, uri]
  return (await runCommand('qemu-io', read, { timeoutMs: TIMEOUT_MS })).exitCode === 0
}
