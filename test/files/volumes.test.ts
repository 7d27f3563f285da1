/** Volumes over several disks, made by LVM and md in a guest and read from the disks' images. */
import assert from 'node:assert/strict'
import { mkdir, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { MIB, must } from '#base'
import { type DiskContents, type NamedDisk, openFileSystems } from '#engine/transfer'
import { checkCommand } from '#runtime'
import { startMicroGuest } from '../rig/micro-guest.ts'
import { assertSameTree } from './compare-trees.ts'
import { addLinks, makeTree, temporaryWork, type Work } from './make-image.ts'
import { makeToolsDisk, TOOLS_READY } from './tools-disk.ts'

const DISKS = ['vdc', 'vdd', 'vde', 'vdf'] as const
const PART_MIB = 28
const PARTS = 11
/** The second disk's second partition is larger: a raid0 of unequal members. */
const LARGER = { disk: 'vdd', part: 2, mib: 40 }

const ARRAYS: readonly Readonly<{ name: string; options: string; parts: string }>[] = [
  { name: 'mirror', options: '--level=1 --metadata=1.2', parts: 'vdc1 vdd1' },
  { name: 'stripe', options: '--level=0 --metadata=1.0 --chunk=64', parts: 'vdc2 vdd2 vde2' },
  { name: 'near', options: '--level=10 --layout=n2 --metadata=1.1 --chunk=64', parts: 'vdc3 vdd3 vde3' },
  { name: 'five', options: '--level=5 --metadata=1.2 --chunk=64', parts: 'vdc4 vdd4 missing vdf4' },
  { name: 'fivera', options: '--level=5 --layout=ra --metadata=1.2 --chunk=64', parts: 'vdc5 vdd5 vde5' },
  { name: 'six', options: '--level=6 --metadata=1.2 --chunk=64', parts: 'vdc6 vdd6 vde6 vdf6' },
  { name: 'row', options: '--level=linear --metadata=1.2', parts: 'vdc7 vdd7' },
  { name: 'old', options: '--level=1 --metadata=0.90', parts: 'vdc8 vdd8' },
  { name: 'far', options: '--level=10 --layout=f2 --metadata=1.2 --chunk=64', parts: 'vde8 vdf8' },
  { name: 'below', options: '--level=1 --metadata=1.2', parts: 'vdc9 vdd9' },
]

function fill(device: string, label: string): string {
  return `mkfs.ext4 -q -F -L ${label} ${device} && mount ${device} /data && cp -a /mnt/tools/tree/. /data/ && umount /data`
}

function makeArrays(): string {
  return ARRAYS.map(({ name, options, parts }, i) => {
    const members = parts.split(' ').map((part) => (part === 'missing' ? part : `/dev/${part}`))
    const create = `mdadm --create /dev/md${i} --run --homehost=any --name=${name} ${options} --raid-devices=${members.length} ${members.join(' ')}`
    const filled = name === 'below' ? 'true' : fill(`/dev/md${i}`, name)
    return `echo == ${name}; ${create} && mdadm --wait /dev/md${i}; ${filled} || exit 1`
  }).join('\n')
}

const LVM = `
P='/dev/vdc10 /dev/vdd10 /dev/vde10 /dev/vdf10 /dev/vdc11'
lvm pvcreate -q $P && lvm vgcreate -q --physicalextentsize 1m many $P || exit 1
lvm lvcreate -y -q -Wn -Zn -n joined -L 34m many /dev/vdc10 /dev/vdd10 && ${fill('/dev/mapper/many-joined', 'joined')} || exit 1
lvm lvcreate -y -q -Wn -Zn -n striped -i 2 -I 32k -L 22m many /dev/vde10 /dev/vdf10 && ${fill('/dev/mapper/many-striped', 'striped')} || exit 1
lvm lvcreate -y -q -Wn -Zn -n kept -L 12m many /dev/vdc11 && mkfs.ext4 -q -F -L kept /dev/mapper/many-kept || exit 1
lvm lvcreate -y -q -s -n shot -L 4m many/kept || exit 1
P='/dev/md9 /dev/vde9 /dev/vdf9'
lvm pvcreate -q $P && lvm vgcreate -q --physicalextentsize 1m nested $P || exit 1
lvm lvcreate -y -q -Wn -Zn -n legs --type raid1 -m 1 -L 20m nested /dev/vde9 /dev/vdf9 || exit 1
for i in $(seq 60); do lvm lvs --noheadings -o sync_percent nested/legs | grep -q 100.00 && break; sleep 1; done
${fill('/dev/mapper/nested-legs', 'legs')} || exit 1
lvm lvcreate -y -q -Wn -Zn -n root -l 100%FREE nested && ${fill('/dev/mapper/nested-root', 'root')} || exit 1
lvm vgchange -q -an many nested
`

async function makeDisk(path: string, disk: string): Promise<void> {
  await writeFile(path, '')
  await truncate(path, (PARTS * PART_MIB + 16) * MIB)
  const sizes = Array.from({ length: PARTS }, (_, i) => {
    const isLarger = disk === LARGER.disk && i + 1 === LARGER.part
    return `size=${isLarger ? LARGER.mib : PART_MIB}MiB\n`
  })
  await checkCommand('/usr/sbin/sfdisk', ['-q', path], { input: `label: gpt\n${sizes.join('')}` })
}

describe('openFileSystems() on volumes over several disks', () => {
  let work: Work
  let tree: string

  before(async () => {
    work = await temporaryWork()
    tree = join(work.path, 'tree')
    await mkdir(tree)
    await makeTree(tree)
    await addLinks(tree)
    const tools = join(work.path, 'tools')
    const scripts = { 'make.sh': `${TOOLS_READY}\n${makeArrays()}\n${LVM}\nmdadm --stop --scan; sync\n` }
    await makeToolsDisk(tools, join(work.path, 'build'), tree, scripts)
    for (const disk of DISKS) await makeDisk(join(work.path, disk), disk)
    const images = [tools, ...DISKS.map((disk) => join(work.path, disk))]
    await using guest = await startMicroGuest({ disks: images.map((path) => ({ path, format: 'raw' as const })) })
    await guest.run(
      `${TOOLS_READY}; sh /mnt/tools/make.sh > /tmp/log 2>&1 || { tail -n 15 /tmp/log; exit 1; }`,
      600_000,
    )
  })
  after(() => work[Symbol.asyncDispose]())

  async function openDisks(...disks: readonly string[]): Promise<DiskContents> {
    const named: NamedDisk[] = []
    for (const name of disks) named.push({ name, source: await work.open(join(work.path, name)) })
    return openFileSystems(named)
  }

  async function check({ fileSystems }: DiskContents, volume: string): Promise<void> {
    const found = must(
      fileSystems.find((one) => one.volume === volume),
      `${volume} is listed`,
    )
    assert.equal(await assertSameTree(found.root, '/', tree, ['lost+found']), 12, volume)
  }

  it('reads every kind of array, volumes of a group, and volumes on an array', async () => {
    const contents = await openDisks(...DISKS)
    const read = ['mirror', 'stripe', 'near', 'five', 'fivera', 'six', 'row'].map((name) => `md/${name}`)
    for (const volume of [...read, 'many/joined', 'many/striped', 'nested/legs', 'nested/root'])
      await check(contents, volume)
    const old = must(
      contents.fileSystems.find(({ label }) => label === 'old'),
      'An array of version 0.90 is listed',
    )
    await check(contents, old.volume)
    assert.match(contents.notes.join('\n'), /md\/five: The RAID is degraded: 1 of its 4/)
    const refusals = new Map(contents.refused.map(({ volume, refusal }) => [volume, refusal]))
    assert.match(refusals.get('many/shot') ?? '', /snapshot of kept/)
    assert.match(refusals.get('md/far') ?? '', /"far"/)
    assert.match(refusals.get('vdcp1') ?? '', /belongs to the software RAID md\/mirror/)
    assert.match(refusals.get('vdcp10') ?? '', /LVM volume group/)
  })

  it('reads from the other disks what is whole without one, and says what is not', async () => {
    const contents = await openDisks('vdd', 'vde', 'vdf')
    for (const name of ['mirror', 'near', 'fivera', 'six']) await check(contents, `md/${name}`)
    for (const volume of ['many/striped', 'nested/legs', 'nested/root']) await check(contents, volume)
    const refusals = new Map(contents.refused.map(({ volume, refusal }) => [volume, refusal]))
    assert.match(refusals.get('md/five') ?? '', /2 of the 4 members/)
    assert.match(refusals.get('md/stripe') ?? '', /1 of the 3 members/)
    assert.match(refusals.get('many/joined') ?? '', /A disk of its volume group is not here/)
    const others = await openDisks('vdc', 'vdd', 'vdf')
    for (const volume of ['md/near', 'md/fivera', 'md/six', 'md/five', 'many/joined', 'nested/legs'])
      await check(others, volume)
  })
})
