/** Images with random damage: reading them ends, in time, with what is left or with a typed error, never in any other way. */
import assert from 'node:assert/strict'
import { mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { isHoldfastError, SeededRandom } from '#base'
import { MemoryDevice } from '#engine/block'
import { type FileTree, openFileSystems } from '#engine/transfer'
import { checkCommand, systemClock } from '#runtime'
import { addLinks, makeExt, makeTree, temporaryWork } from './make-image.ts'

const ROUNDS = Number(process.env['HOLDFAST_FUZZ_ROUNDS'] ?? 100)
const ROUND_MS_MAX = 20_000
const READ_BYTES_MAX = 32 * 1024 * 1024

/** Reads everything there is, as far as a patient user would: each folder once, and a bounded number of bytes. */
async function readAll(tree: FileTree): Promise<void> {
  const seen = new Set<string>()
  const folders = ['/']
  let bytes = 0
  for (let path = folders.pop(); path !== undefined; path = folders.pop()) {
    const key = await tree.keyOf(path)
    if (seen.has(key)) continue
    seen.add(key)
    for (const entry of await tree.list(path)) {
      const inside = `${path === '/' ? '' : path}/${entry.name}`
      if (entry.name.includes('/') || entry.name.includes('\0')) continue
      if (entry.kind === 'folder') folders.push(inside)
      if (entry.kind !== 'file') continue
      for await (const piece of tree.readPieces(inside)) {
        bytes += piece.data.length
        if (bytes > READ_BYTES_MAX) return
      }
    }
  }
}

type Patch = Readonly<{ at: number; byte: number }>

/** Changes to a few bytes, mostly where structures are: in sectors that hold neither zeros nor file content. */
function damageOf(bytes: Buffer, random: SeededRandom, places: readonly number[]): Patch[] {
  return Array.from({ length: random.below(6) + 1 }, () => {
    const at = random.pick(places) + random.below(512)
    const choices = [random.below(256), 0, 0xff, bytes.readUInt8(at) ^ (1 << random.below(8))]
    return { at, byte: random.pick(choices) }
  })
}

function structurePlaces(bytes: Buffer): number[] {
  const places: number[] = []
  for (let at = 0; at + 512 <= bytes.length; at += 512) {
    const sector = bytes.subarray(at, at + 512)
    if (sector.toString('latin1', 0, 4) !== 'HFsd' && sector.some((byte) => byte !== 0)) places.push(at)
  }
  return places
}

/** Reads the device as it is now; whether anything was refused. Any error but a typed one fails the test. */
async function isRefused(device: MemoryDevice, what: string): Promise<boolean> {
  const startMs = systemClock.monotonicMs()
  try {
    const { fileSystems, refused } = await openFileSystems(device)
    for (const { root } of fileSystems) await readAll(root)
    return refused.length > 0
  } catch (error) {
    const isTyped = isHoldfastError(error) && error.code.startsWith('files_')
    assert.ok(isTyped, `${what}: ${error instanceof Error ? error.stack : String(error)}`)
    return true
  } finally {
    assert.ok(systemClock.monotonicMs() - startMs < ROUND_MS_MAX, `${what} took too long`)
  }
}

async function survive(image: Buffer, seed: number): Promise<void> {
  const device = MemoryDevice.from(image)
  const places = structurePlaces(image)
  let refusals = 0
  for (let round = 0; round < ROUNDS; round += 1) {
    const patches = damageOf(image, new SeededRandom(seed * 100_000 + round), places)
    for (const { at, byte } of patches) await device.write(at, Buffer.of(byte))
    if (await isRefused(device, `seed ${seed}, round ${round}`)) refusals += 1
    for (const { at } of patches) await device.write(at, image.subarray(at, at + 1))
  }
  assert.ok(refusals > 0, 'no damage was ever seen: it was put in the wrong places')
  assert.equal(await isRefused(device, 'the undamaged image'), false)
}

describe('reading a damaged file system', () => {
  for (const [index, options] of [
    ['-t', 'ext4', '-O', 'inline_data', '-I', '256'],
    ['-t', 'ext2', '-b', '1024'],
  ].entries()) {
    it(`ends in a typed error at worst (mke2fs ${options.join(' ')})`, async () => {
      await using work = await temporaryWork()
      const [folder, image] = [join(work.path, 'in'), join(work.path, 'image')]
      await mkdir(folder)
      await makeTree(folder)
      await addLinks(folder)
      await makeExt(image, folder, 8, [...options, '-N', '128'])
      await survive(await readFile(image), index + 1)
    })
  }

  it('ends in a typed error at worst (FAT12)', async () => {
    await using work = await temporaryWork()
    const [folder, image] = [join(work.path, 'in'), join(work.path, 'image')]
    await mkdir(folder)
    await makeTree(folder)
    await checkCommand('/usr/sbin/mkfs.vfat', ['-C', '-F', '12', '-s', '16', image, '20480'])
    await checkCommand('mcopy', ['-s', '-i', image, join(folder, 'etc'), join(folder, 'sparse'), '::/'])
    await survive(await readFile(image), 3)
  })
})
