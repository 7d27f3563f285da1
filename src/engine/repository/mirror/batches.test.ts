import assert from 'node:assert/strict'
import { test } from 'node:test'
import { SeededRandom } from '#base'
import { type Batch, cutBatches, type Listed } from './batches.ts'

const pack = (name: string): { name: string; lengthBytes: number } => ({ name, lengthBytes: 10 })

async function cut(entries: readonly Listed[], gone: ReadonlySet<string>, entriesMax = 1): Promise<Batch[]> {
  const batches: Batch[] = []
  for await (const batch of cutBatches(entries, (name) => gone.has(name), { entriesMax, bytesMax: 1e9 }))
    batches.push(batch)
  return batches
}

const entry = (number: number, packs: string[] = [], deletions: string[] = []): Listed => ({
  envelope: { number, packs: packs.map(pack), deletions },
  hash: `hash ${number}`,
})

test('cutBatches() never ends a batch between the naming and the deletion of a pack that is not copied', async () => {
  const entries = [entry(1, ['a']), entry(2, ['b', 'c']), entry(3), entry(4, ['d'], ['b']), entry(5)]
  const batches = await cut(entries, new Set(['b']))
  assert.deepEqual(
    batches.map(({ first, last, isWhole, packs }) => [first, last, isWhole, packs.map(({ name }) => name)]),
    [
      [1, 1, false, ['a']],
      [2, 4, true, ['c', 'd']],
      [5, 5, false, []],
    ],
  )
  assert.deepEqual(batches[1]?.hashes, ['hash 2', 'hash 3', 'hash 4'])
})

test('cutBatches() gives every entry once, in order, whatever was named and deleted', async () => {
  const random = new SeededRandom(11)
  for (let turn = 0; turn < 200; turn += 1) {
    const entries: Listed[] = []
    const living: string[] = []
    const gone = new Set<string>()
    for (let number = 1; number <= 30; number += 1) {
      const named = random.chance(0.6) ? [`p${number}`] : []
      const deletions = living.length > 0 && random.chance(0.3) ? living.splice(random.below(living.length), 1) : []
      living.push(...named)
      for (const name of deletions) gone.add(name)
      entries.push(entry(number, named, deletions))
    }
    const batches = await cut(entries, gone, 1 + (turn % 4))
    const numbers = batches.flatMap(({ first, last }) => Array.from({ length: last - first + 1 }, (_, i) => first + i))
    assert.deepEqual(
      numbers,
      entries.map(({ envelope }) => envelope.number),
    )
    const copied = new Set(batches.flatMap(({ packs }) => packs.map(({ name }) => name)))
    assert.deepEqual(copied, new Set(living))
    for (const { last } of batches)
      for (const name of gone) {
        const namedIn = Number(name.slice(1))
        const deletedIn = entries.find(({ envelope }) => envelope.deletions?.includes(name))?.envelope.number ?? 0
        assert.ok(!(namedIn <= last && last < deletedIn), 'nothing is missing where a batch ends')
      }
  }
})
