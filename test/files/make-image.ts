/** Disk images for the tests of file reading, made by the tools that real systems use, without root. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { accessSync, appendFileSync, constants } from 'node:fs'
import {
  chmod,
  lstat,
  mkdir,
  mkdtemp,
  open,
  readdir,
  readFile,
  readlink,
  rm,
  stat,
  symlink,
  truncate,
  utimes,
  writeFile,
} from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type BlockSource, identityMap, openFileSource } from '#engine/block'
import { MIB } from '#base'
import { checkCommand } from '#runtime'
import { eventually } from '../rig/deadline.ts'
import { sectorData } from '../rig/sector-data.ts'

export const PARTITION_OFFSET = MIB
export const MODIFIED_S = 1_600_000_001
/** The file of `makeTree` with a hole: sectors of data at both ends. */
export const SPARSE = { headSectors: 37, tailAtBytes: 9 * MIB, tailSectors: 11 } as const

/** A folder for images, and the images that are open. Both end with the test. */
export type Work = AsyncDisposable & Readonly<{ path: string; open: (image: string) => Promise<BlockSource> }>

export async function temporaryWork(): Promise<Work> {
  const path = await mkdtemp(join(tmpdir(), 'hf-files-'))
  const sources: BlockSource[] = []
  return {
    path,
    async open(image) {
      const { size } = await stat(image)
      const source = await openFileSource({ path: image, sizeBytes: size, map: identityMap(size) })
      sources.push(source)
      return source
    },
    async [Symbol.asyncDispose]() {
      for (const source of sources) await source.close()
      await rm(path, { recursive: true, force: true })
    },
  }
}

/** A tree with what matters: sizes around a block, a hole, long and foreign names, links, modes, times. */
export async function makeTree(folder: string): Promise<void> {
  await mkdir(join(folder, 'etc/deep/er'), { recursive: true })
  await writeFile(join(folder, 'etc/empty'), '')
  await writeFile(join(folder, 'etc/small'), sectorData(1, 0, 1, 1).subarray(0, 57))
  await writeFile(join(folder, 'etc/two-blocks'), sectorData(2, 0, 16, 1))
  await writeFile(join(folder, 'etc/deep/er/large'), sectorData(3, 0, 9_001, 1))
  await writeFile(join(folder, 'Ünïcödé and a rather long name.txt'), sectorData(4, 0, 3, 1))
  const sparse = await open(join(folder, 'sparse'), 'w')
  await sparse.write(sectorData(5, 0, SPARSE.headSectors, 1), 0, null, 0)
  await sparse.write(sectorData(5, 100, SPARSE.tailSectors, 1), 0, null, SPARSE.tailAtBytes)
  await sparse.close()
  await chmod(join(folder, 'etc/small'), 0o640)
  await utimes(join(folder, 'etc/small'), MODIFIED_S, MODIFIED_S)
}

/** Adds what only Unix file systems hold. */
export async function addLinks(folder: string): Promise<void> {
  await symlink('/etc/passwd', join(folder, 'short-link'))
  await symlink(`/${'long/'.repeat(30)}target`, join(folder, 'long-link'))
  await symlink('..', join(folder, 'etc/up'))
  await chmod(join(folder, 'etc/two-blocks'), 0o4755)
}

/** Adds a folder of `count` files. */
export async function addCrowd(folder: string, count: number): Promise<void> {
  await mkdir(join(folder, 'crowd'))
  for (let i = 0; i < count; i += 1) appendFileSync(join(folder, 'crowd', `entry-${i}`), `${i}`)
}

/** An ext file system made of a folder, alone in its image. `mke2fs` are further arguments, such as -O and -b. */
export async function makeExt(
  image: string,
  folder: string,
  sizeMib: number,
  mke2fs: readonly string[],
): Promise<void> {
  await rm(image, { force: true })
  await writeFile(image, '')
  await truncate(image, sizeMib * MIB)
  await checkCommand('/usr/sbin/mke2fs', ['-q', '-F', ...mke2fs, '-d', folder, image])
}

/** A line of mkfs.xfs's own description of a tree for each thing in a folder. Names with spaces cannot be said there. */
async function protoLines(folder: string): Promise<string[]> {
  const lines: string[] = []
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name)
    const { mode, uid, gid } = await lstat(path)
    const bits = `${(mode & 0o4000) === 0 ? '-' : 'u'}-${(mode & 0o777).toString(8).padStart(3, '0')} ${uid} ${gid}`
    if (entry.isSymbolicLink()) lines.push(`${entry.name} l--777 ${uid} ${gid} ${await readlink(path)}`)
    else if (entry.isDirectory()) {
      lines.push(`${entry.name} d${bits}`, ...(await protoLines(path)), '$')
    } else lines.push(`${entry.name} -${bits} ${path}`)
  }
  return lines
}

/** An XFS file system made of a folder, alone in its image. */
export async function makeXfs(image: string, folder: string, sizeMib: number, mkfs: readonly string[]): Promise<void> {
  await rm(image, { force: true })
  await writeFile(image, '')
  await truncate(image, sizeMib * MIB)
  const proto = `${image}.proto`
  await writeFile(proto, ['/none', '0 0', 'd--755 0 0', ...(await protoLines(folder)), '$', ''].join('\n'))
  // With these it makes file systems of less than 300 MiB, as its own tests do.
  const env = { TEST_DIR: '1', TEST_DEV: '1', QA_CHECK_FS: '1', PATH: process.env['PATH'] ?? '' }
  await checkCommand('/usr/sbin/mkfs.xfs', ['-q', ...mkfs, '-p', proto, image], { env })
}

/** A Btrfs file system made of a folder, alone in its image. */
export async function makeBtrfs(
  image: string,
  folder: string,
  sizeMib: number,
  mkfs: readonly string[],
): Promise<void> {
  await rm(image, { force: true })
  await writeFile(image, '')
  await truncate(image, sizeMib * MIB)
  await checkCommand('/usr/sbin/mkfs.btrfs', ['-q', ...mkfs, '--rootdir', folder, image])
}

/** A disk with one MBR partition from 1 MiB to its end, blank. */
export async function makeMbrDisk(image: string, sizeMib: number, type: string): Promise<void> {
  await writeFile(image, '')
  await truncate(image, sizeMib * MIB)
  await checkCommand('/usr/sbin/sfdisk', ['-q', image], { input: `label: dos\nstart=2048, type=${type}\n` })
}

/** Why the tests of NTFS cannot run here; false: they can. Its tools make folders only through a FUSE mount. */
export function cannotMountNtfs(): string | false {
  try {
    accessSync('/dev/fuse', constants.R_OK | constants.W_OK)
    return process.getuid?.() === 0 ? false : 'mounting ntfs-3g needs root'
  } catch {
    return 'there is no /dev/fuse to fill an NTFS image through'
  }
}

/** An NTFS file system alone in its image, filled through a mount by `fill`. `mkntfs` are further arguments. */
export async function makeNtfs(
  work: Work,
  sizeMib: number,
  clusterBytes: number,
  fill: (folder: string) => Promise<void>,
  mkntfs: readonly string[] = [],
): Promise<string> {
  const [image, mountpoint] = [join(work.path, 'ntfs'), join(work.path, 'mnt')]
  await writeFile(image, '')
  await truncate(image, sizeMib * MIB)
  const options = ['-F', '-Q', '-L', 'Ein Etikett', '-c', String(clusterBytes), ...mkntfs, image]
  await checkCommand('/usr/sbin/mkntfs', options)
  await mkdir(mountpoint)
  // In the foreground: the driver writes its last records after umount has returned, and ends when it has.
  const mount = ['-o', 'no_detach,streams_interface=none,compression', image, mountpoint]
  const driver = spawn('ntfs-3g', mount, { stdio: 'ignore' })
  const ended = once(driver, 'exit')
  await eventually('the mount of the NTFS image', 10_000, async () => {
    if (driver.exitCode !== null) throw new Error(`ntfs-3g gave up with exit code ${driver.exitCode}`)
    return (await readFile('/proc/self/mounts', 'utf8')).includes(` ${mountpoint} `) ? true : undefined
  })
  try {
    await fill(mountpoint)
  } finally {
    await checkCommand('umount', [mountpoint])
    await ended
  }
  return image
}
