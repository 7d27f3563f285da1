import assert from 'node:assert/strict'
import { mkdtemp, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { ManualClock } from '#base'
import { systemRandom } from '#runtime'
import { openLinkKey } from './link-key.ts'
import { readInvite, writeInvite } from './link-wire.ts'
import { claimedSender, digestOf, MessageCheck, signMessage } from './signed-message.ts'

const [EAST, WEST] = ['0b1f6471-1bf0-4dda-aec3-cb9272f09590', '5d0f2d5e-9a41-4a5e-8f3f-16b2a3f7f0a1']

test('MessageCheck takes what was signed for it, once, and nothing else', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'hfk-'))
  try {
    const [key, other] = [await openLinkKey(join(folder, 'a.json')), await openLinkKey(join(folder, 'b.json'))]
    assert.equal((await openLinkKey(join(folder, 'a.json'))).publicKey, key.publicKey, 'kept')
    assert.equal((await stat(join(folder, 'a.json'))).mode & 0o777, 0o600)
    const clock = new ManualClock()
    const check = new MessageCheck(clock)
    const message = { from: EAST, to: WEST, act: 'hello', body: '{"a":1}' } as const
    const sign = () => signMessage({ clock, random: systemRandom, key }, message)
    const expected = { from: EAST, publicKey: key.publicKey, to: WEST, act: 'hello' } as const
    const refuses = async (header: string, change: Partial<Record<keyof typeof expected, string>> = {}) =>
      assert.rejects(check.check(header, { ...expected, ...change } as typeof expected), { code: 'link_refused' })

    const header = await sign()
    assert.equal(claimedSender(header), EAST)
    await refuses(header, { publicKey: other.publicKey })
    await refuses(header, { to: EAST })
    await refuses(header, { from: WEST })
    await refuses(header, { act: 'forward' })
    await refuses(`${header.slice(0, -4)}AAAA`)
    assert.equal(await check.check(header, expected), digestOf(message.body))
    await refuses(header)
    const late = await sign()
    clock.advance(601_000)
    await refuses(late)
    assert.equal(await check.check(await sign(), expected), digestOf(message.body), 'a new one is taken')
    for (const nothing of [undefined, '', 'Bearer x', 'Holdfast-Link x'])
      assert.throws(() => claimedSender(nothing), { code: 'link_refused' })
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
})

test('readInvite() reads what writeInvite() wrote and refuses what is not whole', () => {
  const invite = {
    endpoint: 'https://west.example.org:8443',
    authority: '-----BEGIN CERTIFICATE-----',
    subscription: WEST,
    publicKey: '{}',
    secret: 'abc',
    expiresMs: 7,
  }
  assert.deepEqual(readInvite(`${writeInvite(invite)}\n`), invite)
  for (const change of [
    { endpoint: 'http://west.example.org' },
    { endpoint: 'https://west.example.org/path' },
    { endpoint: 'https://name@west.example.org' },
    { subscription: 'west' },
    { secret: '' },
  ])
    assert.throws(() => readInvite(writeInvite({ ...invite, ...change })), { code: 'link_invitation_invalid' })
})
