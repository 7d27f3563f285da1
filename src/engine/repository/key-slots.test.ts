import assert from 'node:assert/strict'
import { test } from 'node:test'
import { SeededRandom } from '#base'
import { addKeySlot, type Credential, type KeySlot, listKeySlots, openMaster, removeKeySlot } from './key-slots.ts'
import { FaultyStore } from './stores/faulty-store.ts'
import { MemoryStore } from './stores/memory-store.ts'

const random = new SeededRandom(31)
const cost = { memoryKib: 8, passes: 1, parallelism: 1 }
const repositoryId = 'ab'.repeat(16)
const master = random.bytes(32)
const secret = (passphrase: string): Credential => ({ kind: 'passphrase', passphrase })

function add(store: MemoryStore, credential: Credential, id = repositoryId): Promise<KeySlot> {
  return addKeySlot(store, master, { repositoryId: id, credential, label: 'l', nowIso: '', random, cost })
}

test('Every slot opens the same master, and nothing else does', async () => {
  const store = new MemoryStore()
  const file = { kind: 'key-file', bytes: random.bytes(48) } as const
  await add(store, secret('one'))
  await add(store, secret('zwölf Boxkämpfer'))
  await add(store, file)
  for (const credential of [secret('one'), secret('zwölf Boxkämpfer'.normalize('NFD')), file])
    assert.deepEqual((await openMaster(store, repositoryId, credential)).master, Buffer.from(master))
  for (const credential of [secret('One'), secret(''), { kind: 'key-file', bytes: new Uint8Array(8) } as const])
    await assert.rejects(openMaster(store, repositoryId, credential), { code: 'key_wrong' })
})

test('A slot that was carried to another repository, or changed anywhere, does not open', async () => {
  const store = new MemoryStore()
  const slot = await add(store, secret('one'))
  await assert.rejects(openMaster(store, 'cd'.repeat(16), secret('one')), { code: 'repository_damaged' })
  const bytes = await store.get(`keys/${slot.id}`)
  const at = Buffer.from(bytes).indexOf('"wrapped":"') + 15
  bytes[at] = bytes[at] === 65 ? 66 : 65
  store.overwrite(`keys/${slot.id}`, bytes)
  await assert.rejects(openMaster(store, repositoryId, secret('one')), { code: 'key_wrong' })
})

test('Hostile slots are passed over: absurd costs, wrong shapes, objects that are no slots', async () => {
  const store = new MemoryStore()
  const good = await add(store, secret('one'))
  const planted: unknown[] = [
    { ...good, id: '1'.repeat(16), cost: { memoryKib: 1e12, passes: 1, parallelism: 1 } },
    { ...good, id: '2'.repeat(16), cost: { memoryKib: 8, passes: 0.5, parallelism: 1 } },
    { ...good, id: '3'.repeat(16), cost: undefined },
    { ...good, id: '4'.repeat(16), wrapped: 7 },
    { ...good, id: '6'.repeat(16), wrapped: Buffer.alloc(64).toString('base64') },
    { ...good, id: '7'.repeat(16), salt: 'AAAA' },
    { ...good, id: 'other' },
    [],
    'text',
    null,
  ]
  for (const [i, slot] of planted.entries()) {
    const id = (slot as { id?: string } | null)?.id ?? `${i}`.repeat(16)
    await store.put(`keys/${id === 'other' ? '5'.repeat(16) : id}`, [Buffer.from(JSON.stringify(slot) ?? '')])
  }
  await store.put('keys/huge', [new Uint8Array(100_000)])
  assert.deepEqual(
    (await listKeySlots(store, repositoryId)).map(({ id }) => id),
    [good.id],
  )
  assert.deepEqual((await openMaster(store, repositoryId, secret('one'))).slotId, good.id)
})

test('A planted slot of great but allowed cost is tried after the good one', async () => {
  const store = new MemoryStore()
  const good = await add(store, secret('one'))
  const costly = { ...good, id: '0'.repeat(16), cost: { memoryKib: 4 * 1024 * 1024, passes: 64, parallelism: 1 } }
  await store.put(`keys/${costly.id}`, [Buffer.from(JSON.stringify(costly))])
  assert.equal((await openMaster(store, repositoryId, secret('one'))).slotId, good.id)
})

test('The last slot cannot be dropped; the slot of an init that died does not count as another', async () => {
  const store = new MemoryStore()
  const slot = await add(store, secret('one'))
  await add(store, secret('one'), 'ef'.repeat(16))
  await assert.rejects(removeKeySlot(store, repositoryId, slot.id), { code: 'key_slot_last' })
  await assert.rejects(removeKeySlot(store, repositoryId, 'none'), { code: 'key_slot_not_found' })
  const second = await add(store, secret('two'))
  await removeKeySlot(store, repositoryId, slot.id)
  await assert.rejects(openMaster(store, repositoryId, secret('one')), { code: 'key_wrong' })
  assert.equal((await openMaster(store, repositoryId, secret('two'))).slotId, second.id)
})

test('Two who drop the last two slots at once leave one that opens', async () => {
  const store = new MemoryStore()
  const [a, b] = [await add(store, secret('one')), await add(store, secret('two'))]
  const outcomes = await Promise.allSettled(
    [a, b].map(({ id }) => removeKeySlot(new FaultyStore(store), repositoryId, id)),
  )
  assert.ok((await listKeySlots(store, repositoryId)).length >= 1)
  assert.ok(outcomes.some(({ status }) => status === 'rejected'))
})

test('A repository takes no slot that would not be looked at; more that somebody planted do not hide a good one', async () => {
  const store = new MemoryStore()
  const slots: KeySlot[] = []
  for (let i = 0; i < 64; i += 1) slots.push(await add(store, secret(`passphrase ${i}`)))
  await assert.rejects(add(store, secret('one too many')), { code: 'key_slot_limit' })
  const [good] = slots
  for (let i = 0; i < 200; i += 1) {
    const id = String(i).padStart(16, '0')
    await store.put(`keys/${id}`, [Buffer.from(JSON.stringify({ ...good, id }))])
  }
  for (const i of [0, 31, 63])
    assert.equal((await openMaster(store, repositoryId, secret(`passphrase ${i}`))).slotId, slots[i]?.id)
})
