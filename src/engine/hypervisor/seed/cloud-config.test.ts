import assert from 'node:assert/strict'
import { test } from 'node:test'
import { seedFiles } from './cloud-config.ts'

function configIn(text: string | undefined): Record<string, unknown> {
  const [head, ...rest] = (text ?? '').split('\n')
  assert.equal(head, '#cloud-config')
  return JSON.parse(rest.join('\n')) as Record<string, unknown>
}

test('seedFiles() gives the administrator a key and no password, or the password’s hash', () => {
  const common = { instanceId: 'i-1', hostName: 'web1' }
  const byKey = configIn(
    seedFiles({ ...common, admin: { name: 'ops', sshKeys: ['ssh-ed25519 AAAA me'] } })['vendor-data'],
  )
  const [user] = byKey['users'] as Record<string, unknown>[]
  assert.deepEqual([user?.['name'], user?.['lock_passwd'], user?.['passwd']], ['ops', true, undefined])
  assert.deepEqual(user?.['ssh_authorized_keys'], ['ssh-ed25519 AAAA me'])
  assert.equal(byKey['ssh_pwauth'], false)
  const admin = { name: 'ops', sshKeys: [], passwordHash: '$6$salt$hash' }
  const byPassword = configIn(seedFiles({ ...common, admin })['vendor-data'])
  const [other] = byPassword['users'] as Record<string, unknown>[]
  assert.deepEqual([other?.['lock_passwd'], other?.['passwd']], [false, '$6$salt$hash'])
  assert.equal(byPassword['ssh_pwauth'], true)
})

test('seedFiles() hands the maker’s own data over as it is, and names the instance and its host', () => {
  const script = '#!/bin/sh\necho "ä: x"\n'
  const files = seedFiles({ instanceId: 'i-1', hostName: 'web1', userData: script })
  assert.equal(files['user-data'], script)
  assert.deepEqual(JSON.parse(files['meta-data'] ?? ''), { 'instance-id': 'i-1', 'local-hostname': 'web1' })
  assert.equal(configIn(files['vendor-data'])['hostname'], 'web1')
})

test('no value begins a line of its own', () => {
  const name = 'x\nruncmd: [reboot]'
  for (const text of Object.values(seedFiles({ instanceId: name, hostName: name })))
    for (const line of text.split('\n')) assert.ok(!line.startsWith('runcmd'), text)
})
