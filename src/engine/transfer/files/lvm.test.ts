import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { isHoldfastError, MIB, must, SeededRandom } from '#base'
import { DiskView } from './disk-view.ts'
import { lvmCrc, type PhysicalVolume, readPhysicalVolume } from './lvm-label.ts'
import { type LogicalVolume, openVolumeGroups } from './lvm.ts'

const ROUNDS = 600
const SPOILERS = [...Buffer.from('{}[]=",0 9\nx')]
const AREA_AT = 4096
const AREA_BYTES = MIB - AREA_AT
const DISK_BYTES = 9 * MIB
const IDS = ['A', 'B'].map((letter) => letter.repeat(32))

function dashed(id: string): string {
  return [6, 10, 14, 18, 22, 26].reduceRight((text, at) => `${text.slice(0, at)}-${text.slice(at)}`, id)
}

function volume(name: string, extents: number, segment: string): string {
  return `${name} {\nid = "x"\nstatus = ["READ", "WRITE", "VISIBLE"]\nflags = []\nsegment_count = 1\nsegment1 {\nstart_extent = 0\nextent_count = ${extents}\n${segment}\n}\n}\n`
}

const TEXT = `# a comment
vg {
id = "G"
seqno = 7
format = "lvm2"
extent_size = 2048
physical_volumes {
pv0 {\nid = "${dashed(IDS[0] ?? '')}"\ndevice = "/dev/vda"\nflags = []\npe_start = 2048\npe_count = 8\n}
pv1 {\nid = "${dashed(IDS[1] ?? '')}"\ndevice = "/dev/vdb"\nflags = []\npe_start = 2048\npe_count = 8\n}
}
logical_volumes {
${volume('joined', 2, 'type = "striped"\nstripe_count = 1\nstripes = [\n"pv1", 3\n]')}
${volume('striped', 4, 'type = "striped"\nstripe_count = 2\nstripe_size = 128\nstripes = [\n"pv0", 0,\n"pv1", 0\n]')}
${volume('itself', 1, 'type = "striped"\nstripe_count = 1\nstripes = ["itself", 0]')}
${volume('outside', 4, 'type = "striped"\nstripe_count = 1\nstripes = ["pv0", 6]')}
${volume('thin', 4, 'type = "thin"\nthin_pool = "pool"')}
}
}
`

/** A disk whose every MiB holds its own number, with a label, and the text in its area so that it goes over the area's end. */
function makeDisk(letter: number, text: string, startsAt: number): Buffer {
  const disk = Buffer.alloc(DISK_BYTES)
  for (let mib = 1; mib < DISK_BYTES / MIB; mib += 1) disk.fill(letter * 16 + mib, mib * MIB, (mib + 1) * MIB)
  const sector = disk.subarray(512, 1024)
  sector.write('LABELONE', 0, 'latin1')
  sector.writeUInt32LE(1, 8)
  sector.writeUInt32LE(32, 20)
  sector.write('LVM2 001', 24, 'latin1')
  sector.write(IDS[letter - 1] ?? '', 32, 'latin1')
  sector.writeUInt32LE(DISK_BYTES, 64)
  sector.writeUInt32LE(MIB, 72) // where data begins, up to the end
  sector.writeUInt32LE(AREA_AT, 72 + 32)
  sector.writeUInt32LE(AREA_BYTES, 72 + 40)
  sector.writeUInt32LE(lvmCrc(sector.subarray(20)), 16)
  writeText(disk, Buffer.from(text), startsAt)
  return disk
}

function writeText(disk: Buffer, bytes: Buffer, startsAt: number): void {
  const area = disk.subarray(AREA_AT, AREA_AT + AREA_BYTES)
  area.write(' LVM2 x[5A%r0N*>', 4, 'latin1')
  area.writeUInt32LE(1, 20)
  area.writeUInt32LE(AREA_AT, 24)
  area.writeUInt32LE(AREA_BYTES, 32)
  area.writeUInt32LE(startsAt, 40)
  area.writeUInt32LE(bytes.length, 48)
  area.writeUInt32LE(lvmCrc(bytes), 56)
  const first = Math.min(bytes.length, AREA_BYTES - startsAt)
  bytes.copy(area, startsAt, 0, first)
  bytes.copy(area, 512, first)
  area.writeUInt32LE(lvmCrc(area.subarray(4, 512)), 0)
}

function viewOf(disk: Buffer): DiskView {
  return DiskView.of({
    sizeBytes: disk.length,
    read: (offset, into) => {
      disk.copy(into, 0, offset, offset + into.length)
      return Promise.resolve()
    },
  })
}

async function physical(...disks: readonly Buffer[]): Promise<PhysicalVolume[]> {
  const found: PhysicalVolume[] = []
  for (const disk of disks) found.push(must(await readPhysicalVolume(viewOf(disk)), 'It has a label'))
  return found
}

async function byteAt(logical: LogicalVolume | undefined, offset: number): Promise<number> {
  assert.ok(logical !== undefined && 'reader' in logical)
  const byte = Buffer.alloc(1)
  await logical.reader.read(offset, byte)
  return byte.readUInt8(0)
}

describe('openVolumeGroups()', () => {
  it('finds each byte of linear and striped volumes, by a text that goes over the end of its area', async () => {
    const { volumes, notes } = await openVolumeGroups(
      await physical(makeDisk(1, TEXT, AREA_BYTES - 200), makeDisk(2, TEXT.replace('seqno = 7', 'seqno = 6'), 512)),
    )
    assert.deepEqual(notes, [])
    const byName = new Map(volumes.map((one) => [one.name, one]))
    assert.equal(await byteAt(byName.get('joined'), 0), 0x20 + 4)
    assert.equal(await byteAt(byName.get('joined'), 2 * MIB - 1), 0x20 + 5)
    assert.equal(await byteAt(byName.get('striped'), 0), 0x11)
    assert.equal(await byteAt(byName.get('striped'), 65_536), 0x21)
    assert.equal(await byteAt(byName.get('striped'), 4 * MIB - 1), 0x22)
  })

  it('refuses by name what is thin, lies in itself, outside of its disk, or on a disk that is not there', async () => {
    const refusalOf = async (disks: readonly Buffer[], name: string): Promise<string> => {
      const { volumes } = await openVolumeGroups(await physical(...disks))
      const found = volumes.find((one) => one.name === name)
      assert.ok(found !== undefined && 'refusal' in found, name)
      return found.refusal
    }
    const both = [makeDisk(1, TEXT, 512), makeDisk(2, TEXT, 512)]
    assert.match(await refusalOf(both, 'thin'), /thin volume/)
    assert.match(await refusalOf(both, 'itself'), /in each other/)
    assert.match(await refusalOf(both, 'outside'), /does not lie on its disk/)
    assert.match(await refusalOf(both.slice(0, 1), 'joined'), /A disk of its volume group is not here/)
  })

  it('takes a label with a wrong checksum for none', async () => {
    const disk = makeDisk(1, TEXT, 512)
    disk.writeUInt8(0x41, 600)
    assert.equal(await readPhysicalVolume(viewOf(disk)), undefined)
  })

  it('reads names that begin with digits, comments behind values, and strings with escapes', async () => {
    const text = TEXT.replace('vg {', '2024-data.1 { # "{')
      .replace('extent_size = 2048', 'extent_size = 2048\t\t# 1 "Megabytes')
      .replaceAll('joined {', '7up {')
      .replace('format = "lvm2"', String.raw`format = "lvm2 \"quoted\" \\"`)
    const { volumes, notes } = await openVolumeGroups(await physical(makeDisk(1, text, 512), makeDisk(2, text, 512)))
    assert.deepEqual(notes, [])
    assert.deepEqual([volumes[0]?.group, volumes[0]?.name], ['2024-data.1', '7up'])
    assert.equal(await byteAt(volumes[0], 0), 0x20 + 4)
  })

  const most = AREA_BYTES - 1024
  const fill = (text: string, with_: string): string =>
    text + with_.repeat(Math.floor((most - text.length) / with_.length))
  const endless: readonly (readonly [string, string])[] = [
    ['lines without anything', fill('vg {\n', '\n')],
    ['blanks', fill('vg {\nid', ' ')],
    ['blanks behind its number', fill('vg {\nseqno = 7', ' ')],
    ['a string that does not end', fill('vg {\nid = "', String.raw`\"`)],
    ['a comment', fill('vg {\n', '#')],
    ['values', fill('vg {\nx = [', '1,')],
    ['sections', fill('vg {\n', 'a{}')],
    ['one name', fill('vg {\n', 'name')],
    ['braces', fill('', 'a{')],
  ]
  for (const [what, text] of endless) {
    // With time that grows by the square of the length this would take hours.
    it(`comes to an end with a text of nothing but ${what}`, async () => {
      const { volumes } = await openVolumeGroups(await physical(makeDisk(1, text, 512)))
      assert.deepEqual(volumes, [])
    })
  }

  it('opens each volume once, however many others lie on it in how many parts', async () => {
    const parts = 40
    const segments = (on: string, extent: (i: number) => number): string =>
      Array.from(
        { length: parts },
        (_, i) =>
          `segment${i + 1} {\nstart_extent = ${i}\nextent_count = 1\ntype = "striped"\nstripes = ["${on}", ${extent(i)}]\n}\n`,
      ).join('')
    const whole = (name: string, on: string, extent: (i: number) => number): string =>
      `${name} {\nstatus = ["VISIBLE"]\n${segments(on, extent)}}\n`
    const levels = ['a', 'b', 'c', 'd', 'e'].map((name, i) =>
      whole(name, 'fabcd'.charAt(i) === 'f' ? 'pv0' : 'fabcd'.charAt(i), (part) => (i === 0 ? part % 4 : part)),
    )
    // The upper ones first: each would open all below it for each of its parts, a hundred million in all.
    const tower = TEXT.replace('logical_volumes {', `logical_volumes {\n${levels.toReversed().join('')}`)
    const { volumes } = await openVolumeGroups(await physical(makeDisk(1, tower, 512), makeDisk(2, tower, 512)))
    const byName = new Map(volumes.map((one) => [one.name, one]))
    assert.equal(await byteAt(byName.get('e'), 5 * MIB), 0x10 + 2)
    const deeper = tower.replace('logical_volumes {', `logical_volumes {\n${whole('f', 'e', (part) => part)}`)
    const { volumes: more } = await openVolumeGroups(await physical(makeDisk(1, deeper, 512), makeDisk(2, deeper, 512)))
    const top = more.find(({ name }) => name === 'f')
    assert.ok(top !== undefined && 'refusal' in top)
    assert.match(top.refusal, /in each other/)
    assert.equal(
      await byteAt(
        more.find(({ name }) => name === 'e'),
        5 * MIB,
      ),
      0x10 + 2,
    )
  })

  it('refuses volumes that lie in each other without end, and not their neighbours', async () => {
    const one = (i: number): string =>
      `v${i} { status = ["VISIBLE"] segment1 { start_extent = 0 extent_count = 1 type = "striped" stripes = ["v${i + 1}", 0] } }\n`
    const chain = TEXT.replace(
      'logical_volumes {',
      `logical_volumes {\n${Array.from({ length: 3000 }, (_, i) => one(i)).join('')}`,
    )
    const { volumes } = await openVolumeGroups(await physical(makeDisk(1, chain, 512), makeDisk(2, chain, 512)))
    const refused = volumes.filter((volume) => 'refusal' in volume && /in each other|not there/.test(volume.refusal))
    assert.equal(refused.length, 3000 + 1)
    assert.equal(
      await byteAt(
        volumes.find(({ name }) => name === 'joined'),
        0,
      ),
      0x20 + 4,
    )
  })

  it('ends in a note or a refusal at worst, whatever the text says', async () => {
    let isOther = 0
    const [first, second] = [makeDisk(1, TEXT, 512), makeDisk(2, '', 512)]
    for (let round = 0; round < ROUNDS; round += 1) {
      const random = new SeededRandom(9_000 + round)
      const text = Buffer.from(TEXT)
      for (let i = random.below(5); i >= 0; i -= 1) text[random.below(text.length)] = random.pick(SPOILERS)
      try {
        writeText(first, text, 512)
        const { volumes, notes } = await openVolumeGroups(await physical(first, second))
        if (notes.length > 0 || volumes.length !== 5) isOther += 1
        for (const one of volumes)
          if ('reader' in one && one.sizeBytes > 0) await one.reader.read(one.sizeBytes - 1, Buffer.alloc(1))
      } catch (error) {
        assert.ok(isHoldfastError(error) && error.code.startsWith('files_'), `round ${round}: ${String(error)}`)
        isOther += 1
      }
    }
    assert.ok(isOther > ROUNDS / 10, 'the texts were hardly damaged')
  })
})
