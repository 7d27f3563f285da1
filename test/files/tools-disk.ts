/**
 * A disk for the micro guest with the tools that make other file systems and volumes (XFS, Btrfs, LVM, md), the kernel's
 * modules for them, and files of the test. So images are made by the kernel that real systems run, without a mount here.
 *
 *   await using guest = await startMicroGuest({ disks: [{ path: tools, format: 'raw' }, ...] })
 *   await guest.run(`${TOOLS_READY}; mkfs.xfs /dev/vdc`)
 */
import { chmod, copyFile, cp, mkdir, readdir, rm, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { checkCommand } from '#runtime'
import { CACHE_FOLDER } from '../rig/micro-image.ts'
import { makeExt } from './make-image.ts'

const PROGRAMS = ['/usr/sbin/mkfs.xfs', '/usr/sbin/mkfs.btrfs', '/usr/bin/btrfs', '/usr/sbin/lvm']
const MODULES = [
  'xfs',
  'btrfs',
  'dm-mod',
  'dm-mirror',
  'dm-raid',
  'dm-snapshot',
  'dm-thin-pool',
  'raid1',
  'raid10',
  'raid456',
  'linear',
]
const DISK_MIB = 160

/** To be run in the guest first, when the tools are on vdb. LVM has no udev to wait for there. */
export const TOOLS_READY = [
  'mkdir -p /mnt/tools /run/lock',
  '[ -d /mnt/tools/bin ] || { mount -t ext4 -o ro /dev/vdb /mnt/tools && for m in /mnt/tools/modules/*.ko; do insmod $m 2>/dev/null; done; }',
  'export PATH=/mnt/tools/bin:/usr/sbin:/sbin:/usr/bin:/bin LD_LIBRARY_PATH=/mnt/tools/lib LVM_SUPPRESS_FD_WARNINGS=1',
  'mkdir -p /etc/lvm',
  'echo "activation { udev_sync=0 udev_rules=0 monitoring=0 } backup { backup=0 archive=0 } global { thin_check_executable=\\"\\" }" > /etc/lvm/lvm.conf',
].join('; ')

/** The kernel's modules in the order in which they must be inserted. */
async function copyModules(folder: string): Promise<void> {
  const kernel = join(CACHE_FOLDER, 'guest-packages-2/kernel')
  const version = (await readdir(join(kernel, 'lib/modules')))[0] ?? ''
  const paths = new Set<string>()
  for (const module of MODULES) {
    const options = ['-d', kernel, '-S', version, '--show-depends', module]
    const { stdout } = await checkCommand('/usr/sbin/modprobe', options)
    for (const line of stdout.toString('utf8').split('\n')) {
      const path = /^insmod (\S+)/.exec(line)?.[1]
      if (path !== undefined) paths.add(path)
    }
  }
  await mkdir(folder)
  for (const [i, path] of [...paths].entries()) {
    const target = join(folder, `${100 + i}-${basename(path)}`)
    await copyFile(path, target)
    if (path.endsWith('.xz')) await checkCommand('xz', ['-d', target])
  }
}

async function copyPrograms(folder: string): Promise<void> {
  await mkdir(join(folder, 'bin'))
  await mkdir(join(folder, 'lib'))
  for (const program of PROGRAMS) {
    await copyFile(program, join(folder, 'bin', basename(program)))
    await chmod(join(folder, 'bin', basename(program)), 0o755)
    const { stdout } = await checkCommand('ldd', [program])
    for (const [, library] of stdout.toString('utf8').matchAll(/=> (\/\S+)/g)) {
      if (library !== undefined) await copyFile(library, join(folder, 'lib', basename(library)))
    }
  }
}

/** The image `path`, with `tree` (a folder, or scripts by name) as /mnt/tools/tree. Needs `build` for its making. */
export async function makeToolsDisk(
  path: string,
  build: string,
  tree: string | undefined,
  scripts: Readonly<Record<string, string>> = {},
): Promise<void> {
  await mkdir(build)
  await copyPrograms(build)
  await copyModules(join(build, 'modules'))
  if (tree !== undefined)
    await cp(tree, join(build, 'tree'), { recursive: true, preserveTimestamps: true, verbatimSymlinks: true })
  for (const [name, text] of Object.entries(scripts)) await writeFile(join(build, name), text)
  await makeExt(path, build, DISK_MIB, ['-t', 'ext4', '-O', '^has_journal'])
  await rm(build, { recursive: true })
}
