/**
 * A data disk that carries fio with everything it is linked with, so that load is made, and latency measured, inside a
 * guest that has neither. An ext4 without partitions; the guest mounts it where it likes.
 */
import { copyFile, mkdir, rm, truncate, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { checkCommand } from '#runtime'

const TOOL_MS_MAX = 10 * 60_000

/** The word that runs the fio of a disk mounted at `mount`. */
export function fioIn(mount: string): string {
  return `${mount}/fio/ld.so --library-path ${mount}/fio ${mount}/fio/fio`
}

async function stageFio(stage: string): Promise<void> {
  const folder = join(stage, 'fio')
  await mkdir(folder, { recursive: true })
  const fio = (await checkCommand('sh', ['-c', 'command -v fio'])).stdout.toString('utf8').trim()
  await copyFile(fio, join(folder, 'fio'))
  const linked = (await checkCommand('ldd', [fio])).stdout.toString('utf8')
  for (const [, library] of linked.matchAll(/(?:=> |^\t)(\/\S+) \(0x/gm)) {
    if (library === undefined) continue
    await copyFile(library, join(folder, /\/ld-linux/.test(library) ? 'ld.so' : basename(library)))
  }
}

/** Makes a qcow2 disk of `sizeMib` with fio and, in the file `data`, as many random MiB as asked for. */
export async function makeFioDisk(path: string, sizeMib: number, dataMib: number): Promise<void> {
  const stage = `${path}.stage`
  const raw = `${path}.raw`
  await stageFio(stage)
  if (dataMib > 0) {
    const args = ['if=/dev/urandom', `of=${join(stage, 'data')}`, 'bs=1M', `count=${dataMib}`, 'status=none']
    await checkCommand('dd', args, { timeoutMs: TOOL_MS_MAX })
  }
  await writeFile(raw, '')
  await truncate(raw, sizeMib * 1024 * 1024)
  const ext4 = ['-q', '-F', '-t', 'ext4', '-E', 'lazy_itable_init=0,lazy_journal_init=0', '-d', stage, raw]
  await checkCommand('mke2fs', ext4, { timeoutMs: TOOL_MS_MAX })
  await checkCommand('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', raw, path], { timeoutMs: TOOL_MS_MAX })
  for (const made of [raw, stage]) await rm(made, { recursive: true })
}
