/**
 * The data of the benchmark: a raw disk image with a real ext4 file system made of this machine's own files, and the same
 * image with 64 MiB changed. Which files, in which order, and which places change is decided by rule, not by chance; the
 * content differs from machine to machine, hence one run measures all tools on the same bytes.
 *
 * Kept in the given folder for the next run. An unfinished one is made anew: `data.json` is written last.
 */
import { constants, type Dirent } from 'node:fs'
import {
  copyFile,
  link,
  lstat,
  mkdir,
  open,
  readdir,
  readFile,
  readlink,
  rm,
  symlink,
  truncate,
  writeFile,
} from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { errnoOf, MIB, SeededRandom } from '#base'
import { checkCommand } from '#runtime'

export type DataSize = Readonly<{ virtualBytes: number; fileBytes: number; hugeBytes: number }>

export type BenchData = Readonly<{
  /** The image, the same with `changedBytes` overwritten, and one that is `hugeBytes` long, mostly hole. */
  baseImage: string
  changedImage: string
  hugeImage: string
  virtualBytes: number
  hugeBytes: number
  fileBytes: number
  files: number
  allocatedBytes: number
  changedBytes: number
}>

type Run = Readonly<{ start: number; length: number }>

/** What a small server has, in this order, until there is enough. */
const ROOTS = [
  '/usr/bin',
  '/usr/sbin',
  '/etc',
  '/usr/lib',
  '/usr/share',
  '/usr/libexec',
  '/usr/include',
  '/opt',
  '/var/lib',
]
const FILE_BYTES_MAX = 256 * MIB
const CHANGES = 64
const CHANGE_BYTES = MIB
const UUID = '6e0d1c4a-0b53-4d0e-9a53-5a7d2f0c1e11'
const TOOL_MS_MAX = 30 * 60_000

export async function makeData(folder: string, size: DataSize, say: (text: string) => void): Promise<BenchData> {
  const kept = await keptData(folder, size)
  if (kept !== undefined) return kept
  await rm(folder, { recursive: true, force: true })
  const stage = join(folder, 'stage')
  await mkdir(stage, { recursive: true })
  say(`Choosing ${Math.round(size.fileBytes / MIB)} MiB of files`)
  const chosen = await stageFiles(stage, size.fileBytes)
  const [baseImage, changedImage, hugeImage] = ['base', 'changed', 'huge'].map((name) =>
    join(folder, `${name}.img`),
  ) as [string, string, string]
  say('Making the file system')
  await makeFileSystem(stage, baseImage, size.virtualBytes)
  await rm(stage, { recursive: true })
  const runs = await dataRuns(baseImage)
  say('Making the changed and the huge image')
  await checkCommand('cp', ['--sparse=always', baseImage, changedImage], { timeoutMs: TOOL_MS_MAX })
  await change(changedImage, runs)
  await checkCommand('cp', ['--sparse=always', baseImage, hugeImage], { timeoutMs: TOOL_MS_MAX })
  await truncate(hugeImage, size.hugeBytes)
  const allocatedBytes = runs.reduce((sum, run) => sum + run.length, 0)
  const { virtualBytes, hugeBytes } = size
  const changedBytes = CHANGES * CHANGE_BYTES
  const data = { baseImage, changedImage, hugeImage, virtualBytes, hugeBytes, ...chosen, allocatedBytes, changedBytes }
  await writeFile(join(folder, 'data.json'), JSON.stringify({ size, data }, null, 2))
  return data
}

async function keptData(folder: string, size: DataSize): Promise<BenchData | undefined> {
  try {
    const kept = JSON.parse(await readFile(join(folder, 'data.json'), 'utf8')) as { size: DataSize; data: BenchData }
    return JSON.stringify(kept.size) === JSON.stringify(size) ? kept.data : undefined
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined
    throw error
  }
}

/** Runs of allocated bytes, ascending, as `qemu-img map` tells them. */
export async function dataRuns(image: string): Promise<Run[]> {
  const args = ['map', '--output=json', '-f', 'raw', image]
  const { stdout } = await checkCommand('qemu-img', args, { timeoutMs: TOOL_MS_MAX })
  const map = JSON.parse(stdout.toString('utf8')) as (Run & { data: boolean })[]
  return map.filter((run) => run.data).map(({ start, length }) => ({ start, length }))
}

/** Hard links where the file system allows, copies elsewhere. */
async function stageFiles(stage: string, bytesMax: number): Promise<{ fileBytes: number; files: number }> {
  let [fileBytes, files] = [0, 0]
  for (const root of ROOTS) {
    for await (const path of walk(root)) {
      if (fileBytes >= bytesMax) return { fileBytes, files }
      const target = join(stage, path)
      const found = await lstat(path)
      if (found.isFile() && found.size > FILE_BYTES_MAX) continue
      await mkdir(dirname(target), { recursive: true })
      if (found.isSymbolicLink()) await symlink(await readlink(path), target)
      else await placeFile(path, target)
      fileBytes += found.isFile() ? found.size : 0
      files += 1
    }
  }
  if (fileBytes < bytesMax) throw new Error(`This machine has only ${fileBytes} bytes of files to choose from.`)
  return { fileBytes, files }
}

async function placeFile(path: string, target: string): Promise<void> {
  try {
    await link(path, target)
  } catch (error) {
    if (!['EXDEV', 'EPERM', 'EMLINK'].includes(errnoOf(error) ?? '')) throw error
    await copyFile(path, target, constants.COPYFILE_FICLONE)
  }
}

/** Files and symbolic links below `root` in order of name; what may not be read is passed over. */
async function* walk(root: string): AsyncGenerator<string> {
  let entries: Dirent[]
  try {
    entries = await readdir(root, { withFileTypes: true })
  } catch (error) {
    if (['EACCES', 'ENOENT', 'ENOTDIR'].includes(errnoOf(error) ?? '')) return
    throw error
  }
  for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
    const path = join(root, entry.name)
    if (entry.isDirectory()) yield* walk(path)
    else if (entry.isFile() || entry.isSymbolicLink()) yield path
  }
}

async function makeFileSystem(stage: string, image: string, virtualBytes: number): Promise<void> {
  await writeFile(image, '')
  await truncate(image, virtualBytes)
  const options = ['-U', UUID, '-E', `hash_seed=${UUID},lazy_itable_init=1,root_owner=0:0`, '-m', '1']
  const args = ['-q', '-F', '-t', 'ext4', ...options, '-d', stage, image]
  await checkCommand('mke2fs', args, { timeoutMs: TOOL_MS_MAX, env: { E2FSPROGS_FAKE_TIME: '1790000000' } })
}

/** Overwrites 64 whole MiB, spread over the allocated ones, with bytes that do not compress and occur nowhere else. */
async function change(image: string, runs: readonly Run[]): Promise<void> {
  const candidates = runs.flatMap(({ start, length }) => {
    const first = Math.ceil(start / CHANGE_BYTES) * CHANGE_BYTES
    const count = Math.max(0, Math.floor((start + length - first) / CHANGE_BYTES))
    return Array.from({ length: count }, (_, i) => first + i * CHANGE_BYTES)
  })
  if (candidates.length < CHANGES) throw new Error('The image has too few whole MiB of data to change.')
  const random = new SeededRandom(64)
  const handle = await open(image, 'r+')
  for (let i = 0; i < CHANGES; i += 1) {
    const offset = candidates[Math.floor((i * candidates.length) / CHANGES)] ?? 0
    await handle.write(random.bytes(CHANGE_BYTES), 0, CHANGE_BYTES, offset)
  }
  await handle.sync()
  await handle.close()
}

/** Reads the image's data once, so that the page cache is warm for every tool alike. */
export async function warm(image: string): Promise<void> {
  const runs = await dataRuns(image)
  const handle = await open(image, 'r')
  const buffer = Buffer.alloc(4 * MIB)
  for (const { start, length } of runs) {
    for (let at = 0; at < length; at += buffer.length) {
      await handle.read(buffer, 0, Math.min(buffer.length, length - at), start + at)
    }
  }
  await handle.close()
}
