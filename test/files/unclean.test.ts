/**
 * File systems that were in use when their machine lost its power: what is read from the disks is what a mount shows after it
 * has replayed the journal. The guest writes, syncs some files, and QEMU is killed; a second guest mounts copies of the same
 * disks and says what it sees.
 */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { mkdir, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { MIB, must } from '#base'
import { type FileTree, type OpenedFileSystem, openFileSystems } from '#engine/transfer'
import { makeOverlay, startMicroGuest } from '../rig/micro-guest.ts'
import { readWhole } from './compare-trees.ts'
import { addLinks, makeTree, temporaryWork, type Work } from './make-image.ts'
import { makeToolsDisk, TOOLS_READY } from './tools-disk.ts'

const DISKS: readonly Readonly<{ name: string; kind: string; make: string }>[] = [
  { name: 'vdc', kind: 'ext4', make: 'mkfs.ext4 -q -F' },
  { name: 'vdd', kind: 'xfs', make: 'mkfs.xfs -q -f -m bigtime=1' },
  { name: 'vde', kind: 'xfs', make: 'mkfs.xfs -q -f -m crc=0,finobt=0,reflink=0 -i sparse=0' },
  { name: 'vdf', kind: 'btrfs', make: 'mkfs.btrfs -q -f' },
]
const DISK_MIB = 320

/** The disk's number makes its writes differ from the others'. */
function write({ name, make }: (typeof DISKS)[number], number: number): string {
  return `
set -e
${make} /dev/${name} > /dev/null
mkdir -p /data/${name}
mount /dev/${name} /data/${name}
cp -a /mnt/tools/tree/. /data/${name}/
mkdir /data/${name}/crowd /data/${name}/later
for i in $(seq 1 150); do echo "${number} $i" > /data/${name}/crowd/number-$i; done
sync
cd /data/${name}
for i in $(seq 1 40); do
  dd if=/mnt/tools/tree/etc/deep/er/large of=later/file-$i bs=512 count=$((i * 7)) skip=$((${number} * 100 + i)) 2>/dev/null
  rm crowd/number-$i
  mv crowd/number-$((i + 50)) later/moved-$i
  ln -s "../crowd/number-$((i + 100))" later/link-$i
done
dd if=/mnt/tools/tree/etc/deep/er/large of=etc/two-blocks bs=512 seek=5 count=3 conv=notrunc 2>/dev/null
chmod 600 etc/small
sync later/file-20 etc/two-blocks later
dd if=/mnt/tools/tree/etc/deep/er/large of=later/synced bs=512 count=2000 conv=fsync 2>/dev/null
cd /
`
}

/** Each file: its path, kind, size, mode, time, and the hash of what it holds or where it leads. */
const SHOW = String.raw`
show() {
  cd "$1"
  find . ! -path ./lost+found | while read -r f; do
    if [ -h "$f" ]; then echo "$f|link|$(readlink "$f")"
    elif [ -d "$f" ]; then echo "$f|folder|$(stat -c '%a|%Y' "$f")"
    else echo "$f|file|$(stat -c '%s|%a|%Y' "$f")|$(md5sum < "$f" | cut -c 1-32)"; fi
  done
  cd /
}
`

async function showTree(tree: FileTree, path: string, lines: string[]): Promise<void> {
  const { mode, modifiedMs } = await tree.stat(path)
  const at = path === '/' ? '.' : `.${path}`
  lines.push(`${at}|folder|${mode.toString(8)}|${Math.floor(modifiedMs / 1000)}`)
  for (const entry of await tree.list(path)) {
    const inside = `${path === '/' ? '' : path}/${entry.name}`
    if (inside === '/lost+found') continue
    if (entry.kind === 'folder') await showTree(tree, inside, lines)
    else if (entry.kind === 'link') lines.push(`.${inside}|link|${entry.linkTarget}`)
    else {
      const hash = createHash('md5')
        .update(await readWhole(tree, inside))
        .digest('hex')
      const time = Math.floor(entry.modifiedMs / 1000)
      lines.push(`.${inside}|${entry.kind}|${entry.sizeBytes}|${entry.mode.toString(8)}|${time}|${hash}`)
    }
  }
}

describe('openFileSystems() on a machine that lost its power', () => {
  let work: Work
  const seen = new Map<string, string[]>()

  before(async () => {
    work = await temporaryWork()
    const [tree, tools] = [join(work.path, 'tree'), join(work.path, 'tools')]
    await mkdir(tree)
    await makeTree(tree)
    await addLinks(tree)
    const scripts = Object.fromEntries(DISKS.map((disk, i) => [`${disk.name}.sh`, write(disk, i)]))
    await makeToolsDisk(tools, join(work.path, 'build'), tree, { ...scripts, 'show.sh': SHOW })
    const images = DISKS.map(({ name }) => join(work.path, name))
    for (const image of images) {
      await writeFile(image, '')
      await truncate(image, DISK_MIB * MIB)
    }
    const written = [tools, ...images].map((path) => ({ path, format: 'raw' as const }))
    {
      await using guest = await startMicroGuest({ disks: written, memoryMib: 384 })
      for (const { name } of DISKS) await guest.run(`${TOOLS_READY}; sh /mnt/tools/${name}.sh 2>&1`, 600_000)
      await guest.kill9()
    }
    const overlays = images.map((image) => ({ path: `${image}.qcow2`, format: 'qcow2' as const }))
    for (const image of images) await makeOverlay(`${image}.qcow2`, image, 'raw')
    await using guest = await startMicroGuest({ disks: [{ path: tools, format: 'raw' }, ...overlays], memoryMib: 384 })
    for (const { name } of DISKS) {
      const mount = `mkdir -p /data/${name}; mount /dev/${name} /data/${name} && . /mnt/tools/show.sh && show /data/${name}`
      const output = await guest.run(`${TOOLS_READY}; ${mount}`, 600_000)
      seen.set(name, output.trimEnd().split('\n').sort())
    }
  })
  after(() => work[Symbol.asyncDispose]())

  for (const [number, { name, kind, make }] of DISKS.entries()) {
    it(`shows what a mount shows, and says nothing of a journal (${make})`, async () => {
      const { fileSystems, refused } = await openFileSystems(await work.open(join(work.path, name)))
      assert.deepEqual(refused, [])
      const found: OpenedFileSystem = must(fileSystems[0], 'There is one file system')
      assert.equal(found.kind, kind)
      assert.deepEqual(found.notes, [])
      const lines: string[] = []
      await showTree(found.root, '/', lines)
      assert.deepEqual(lines.sort(), seen.get(name))
      const large = await readWhole(found.root, '/etc/deep/er/large')
      assert.ok((await readWhole(found.root, '/later/synced')).equals(large.subarray(0, 2000 * 512)))
      const from = (number * 100 + 20) * 512
      assert.ok((await readWhole(found.root, '/later/file-20')).equals(large.subarray(from, from + 140 * 512)))
      // Removed, and not synced for itself: a journal holds it all the same, the log tree of Btrfs does not.
      const isThere = (await found.root.list('/crowd')).some((entry) => entry.name === 'number-20')
      assert.equal(isThere, kind === 'btrfs')
    })
  }
})
