/**
 * Images that are damaged on purpose, imported: each becomes a disk or is refused with a reason, never a fault of ours; what is
 * refused leaves no file. A VHD whose footer is not as it must be is always refused. HOLDFAST_HOSTILE_SEED=n damages others.
 */
import assert from 'node:assert/strict'
import { readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { GIB, MIB, SeededRandom } from '#base'
import { stampedBytes } from '#engine/block'
import { DiskWorld, type Done, imageBytes, qemuImg } from './disk-world.ts'

const SEED = Number(process.env['HOLDFAST_HOSTILE_SEED'] ?? 1)
const EACH = 12
const SIZE = 2 * MIB
const HEAD_BYTES = 2048
const FOOTER_BYTES = 512
const FORMATS: readonly (readonly [format: string, name: string, ...options: string[]])[] = [
  ['vpc', 'fixed VHD', '-o', 'subformat=fixed,force_size=on'],
  ['vpc', 'dynamic VHD', '-o', 'subformat=dynamic,force_size=on'],
  ['vhdx', 'VHDX'],
  ['vmdk', 'VMDK'],
  ['qcow2', 'qcow2'],
]
type Imported = Readonly<{ name: string; done: Done }>

const EXTREMES = [0, 1, 0x7fffffff, 0x80000000, 0xffffffff]

/** A few fields overwritten, in the head or the end, where formats keep what they say about themselves; or cut off. */
function damaged(random: SeededRandom, image: Buffer): Buffer {
  if (random.chance(0.15)) return image.subarray(0, random.below(image.length))
  const bytes = Buffer.from(image)
  for (let left = 1 + random.below(4); left > 0; left -= 1) {
    const atEnd = random.chance(0.5)
    const at = atEnd ? bytes.length - FOOTER_BYTES + random.below(FOOTER_BYTES - 4) : random.below(HEAD_BYTES)
    if (random.chance(0.5)) bytes.writeUInt32BE(random.pick(EXTREMES), at)
    else bytes[at] = random.below(256)
  }
  return bytes
}

/** A fixed VHD's footer with one byte changed: its checksum says so. */
function withBadFooter(random: SeededRandom, image: Buffer): Buffer {
  const bytes = Buffer.from(image)
  // Behind the checksum's end only reserved bytes follow the saved state.
  const at = bytes.length - FOOTER_BYTES + random.below(85)
  bytes[at] = (bytes[at] ?? 0) ^ (1 + random.below(255))
  return bytes
}

class ImageWorld {
  readonly disks: DiskWorld
  #count = 0

  constructor(disks: DiskWorld) {
    this.disks = disks
  }

  async imported(bytes: Uint8Array, extension: string): Promise<Imported> {
    const name = `i${this.#count++}`
    const path = join(this.disks.folder, `${name}.${extension}`)
    await writeFile(path, bytes)
    const creationData = { createOption: 'Import', sourceUri: `file://${path}` }
    const done = await this.disks.end(await this.disks.put(name, { creationData }))
    await rm(path)
    return { name, done }
  }

  /** As many as EACH, at once. */
  allImported(next: () => Buffer, extension: string): Promise<Imported[]> {
    const images = Array.from({ length: EACH }, next)
    return Promise.all(images.map((image) => this.imported(image, extension)))
  }

  async refused({ name, done }: Imported, what: string): Promise<void> {
    assert.notEqual(done.error?.code, 'InternalServerError', `${what}: ${JSON.stringify(done.error)}`)
    assert.equal((await this.disks.disk(name)).properties.provisioningState, 'Failed', what)
    await assert.rejects(stat(await this.disks.file(name)), what)
  }

  poolFiles(): Promise<string[]> {
    return readdir(join(this.disks.api.home.folder, 'regions', 'eastus', 'pool', 'disks'))
  }
}

test(`damaged images of seed ${SEED}`, async (t) => {
  await using disks = await DiskWorld.make()
  const world = new ImageWorld(disks)
  const raw = join(disks.api.home.folder, 'good.raw')
  const content = stampedBytes({ disk: 5, version: 1 }, 0, SIZE)
  await writeFile(raw, content)
  let [made, refused] = [0, 0]

  for (const [format, what, ...options] of FORMATS)
    await t.test(what, async () => {
      const path = join(disks.api.home.folder, `good.${format}`)
      await qemuImg('convert', '-f', 'raw', '-O', format, ...options, raw, path)
      const good = await readFile(path)
      const extension = format === 'vpc' ? 'vhd' : format
      const whole = await world.imported(good, extension)
      assert.equal(whole.done.status, 'Succeeded', JSON.stringify(whole.done))
      assert.ok((await disks.bytes(whole.name)).equals(content), 'undamaged it is the disk')
      const random = new SeededRandom(SEED)
      const ends = await world.allImported(() => damaged(random, good), extension)
      for (const [number, one] of ends.entries()) {
        if (one.done.status !== 'Succeeded') await world.refused(one, `${what} ${number} of seed ${SEED}`)
        if (one.done.status === 'Succeeded') made += 1
        else refused += 1
      }
      if (what !== 'fixed VHD') return
      const footers = await world.allImported(() => withBadFooter(random, good), extension)
      for (const [number, one] of footers.entries()) await world.refused(one, `footer ${number}`)
    })

  await t.test('what was refused left nothing; the worker goes on', async () => {
    console.log(`${made} became disks, ${refused} were refused`)
    assert.ok(refused > FORMATS.length, 'the damage was damage')
    assert.equal((await world.poolFiles()).length, made + FORMATS.length)
    assert.equal((await world.imported(content, 'raw')).done.status, 'Succeeded')
    assert.ok((await imageBytes(raw, 'raw', `${raw}.out`)).length < GIB)
  })
})
