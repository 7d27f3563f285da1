import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { test } from 'node:test'
import { listActivity, listCredentials } from '#catalog'
import { OWNER_ROLE } from '#domain'
import { checkCommand, systemClock } from '#runtime'
import { AdminWorld, SUBSCRIPTION } from '../admin.fixture.ts'
import type { AssignmentView, NewPrincipal, PrincipalDetail } from './principal-methods.ts'

const HOUR_MS = 3_600_000

test('principal.add gives a secret once; the catalog keeps nothing to log in with', async () => {
  await using world = await AdminWorld.make()
  const made = await world.ask<NewPrincipal>('principal.add', { name: 'ci', days: 2 })
  assert.match(made.secret, /^hf~[\w-]{43}$/)
  const [credential] = await listCredentials(world.catalog, made.id)
  assert.equal(credential?.verifier, createHash('sha256').update(made.secret).digest('hex'))
  assert.equal(credential?.expiresMs, world.clock.nowMs() + 48 * HOUR_MS)
  const shown = JSON.stringify(await world.ask('principal.show', { principal: 'ci' }))
  assert.ok(!shown.includes(made.secret) && !shown.includes(credential?.verifier ?? '-'))
})

test('Principals are found by name, client id and object id; names cannot be mistaken for ids or appear twice', async () => {
  await using world = await AdminWorld.make()
  const made = await world.ask<NewPrincipal>('principal.add', { name: 'ci' })
  for (const principal of ['ci', made.id, made.clientId.toUpperCase()])
    assert.equal((await world.ask<PrincipalDetail>('principal.show', { principal })).name, 'ci')
  await assert.rejects(world.ask('principal.add', { name: 'ci' }), { code: 'principal_exists' })
  for (const name of [made.id, 'abcdef12-0000-4000-8000-000000000000', '1a', 'a b', 'a'.repeat(65), 'a\n'])
    await assert.rejects(world.ask('principal.add', { name }), { code: 'principal_invalid' }, name)
  await assert.rejects(world.ask('principal.show', { principal: 'nobody' }), { code: 'principal_not_found' })
})

test('principal.reset-secret lets older secrets work for the overlap and no longer, and never makes one last longer', async () => {
  await using world = await AdminWorld.make()
  const { id } = await world.ask<NewPrincipal>('principal.add', { name: 'ci' })
  await world.ask('principal.reset-secret', { principal: 'ci', overlapHours: 1 })
  const nowMs = world.clock.nowMs()
  const ends = async () =>
    (await listCredentials(world.catalog, id))
      .map(({ expiresMs }) => expiresMs)
      .sort((a, b) => (a ?? Number.MAX_VALUE) - (b ?? Number.MAX_VALUE))
  assert.deepEqual(await ends(), [nowMs + HOUR_MS, undefined])
  await world.ask('principal.reset-secret', { principal: 'ci', overlapHours: 24 })
  assert.deepEqual(await ends(), [nowMs + HOUR_MS, nowMs + 24 * HOUR_MS, undefined])
  await world.ask('principal.reset-secret', { principal: 'ci', overlapHours: 0 })
  assert.deepEqual(await ends(), [nowMs, nowMs, nowMs, undefined])
  for (const overlapHours of [-1, 1.5, 1e9, '1', undefined])
    await assert.rejects(world.ask('principal.reset-secret', { principal: 'ci', overlapHours }), {
      code: 'request_invalid',
    })
})

test('role.assign takes a name, a GUID or an id; the subscription is the usual scope; foreign scopes are refused', async () => {
  await using world = await AdminWorld.make()
  await world.ask('principal.add', { name: 'ci' })
  const assign = (role: string, scope?: string) =>
    world.ask<AssignmentView>('role.assign', { role, principal: 'ci', scope })
  assert.equal((await assign('reader')).scope, `/subscriptions/${SUBSCRIPTION}`)
  assert.equal((await assign(OWNER_ROLE.toUpperCase(), '/')).role, 'Owner')
  const group = `/subscriptions/${SUBSCRIPTION.toUpperCase()}/resourcegroups/Web`
  assert.equal((await assign('Contributor', group)).role, 'Contributor')
  await assert.rejects(assign('Contributor', group.toLowerCase()), { code: 'role_assignment_exists' })
  await assert.rejects(assign('Caretaker'), { code: 'role_not_found' })
  for (const scope of ['web', '/subscriptions/00000000-0000-0000-0000-000000000000', '/subscriptions/../x', '//'])
    await assert.rejects(assign('Reader', scope), { code: 'role_scope_invalid' }, scope)
  assert.equal((await world.ask<AssignmentView[]>('role.list', { principal: 'ci' })).length, 3)
  assert.equal((await world.ask<AssignmentView[]>('role.list', { scope: '/' })).length, 1)
})

test('The last Owner of everything stays, by whatever way it would go', async () => {
  await using world = await AdminWorld.make()
  for (const name of ['first', 'second']) {
    await world.ask('principal.add', { name })
    await world.ask('role.assign', { role: 'Owner', principal: name, scope: '/' })
  }
  await world.ask('role.unassign', { role: 'Owner', principal: 'first', scope: '/' })
  await assert.rejects(world.ask('role.unassign', { role: 'Owner', principal: 'second', scope: '/' }), {
    code: 'principal_last_owner',
  })
  await assert.rejects(world.ask('principal.remove', { principal: 'second' }), { code: 'principal_last_owner' })
  await world.ask('principal.remove', { principal: 'first' })
  await assert.rejects(world.ask('role.unassign', { role: 'Reader', principal: 'second' }), {
    code: 'role_assignment_not_found',
  })
  const actions = (await listActivity(world.catalog, { limit: 20 })).map(({ action }) => action)
  assert.deepEqual(actions.slice(0, 2), [
    'Microsoft.Graph/servicePrincipals/delete',
    'Microsoft.Authorization/roleAssignments/delete',
  ])
  assert.equal(actions.length, 6, 'what was refused changed nothing')
})

test('principal.add-certificate keeps the public key alone, until the certificate ends; a credential can be taken away', async () => {
  await using world = await AdminWorld.make()
  world.clock.jumpTo(systemClock.nowMs())
  const { id } = await world.ask<NewPrincipal>('principal.add', { name: 'ci' })
  const make = async (name: string, ...key: string[]): Promise<string> => {
    const files = ['-keyout', world.folder(`${name}.key`), '-out', world.folder(`${name}.crt`)]
    await checkCommand('openssl', ['req', '-x509', '-nodes', '-days', '10', '-subj', '/CN=ci', ...key, ...files])
    return readFile(world.folder(`${name}.crt`), 'utf8')
  }
  const certificate = await make('rsa', '-newkey', 'rsa:2048')
  const made = await world.ask<{ id: string; kind: string }>('principal.add-certificate', {
    principal: 'ci',
    certificate,
  })
  const kept = (await listCredentials(world.catalog, id)).find(({ kind }) => kind === 'certificate')
  assert.match(kept?.verifier ?? '', /^-----BEGIN PUBLIC KEY-----/)
  const refuses = (given: unknown) =>
    assert.rejects(world.ask('principal.add-certificate', { principal: 'ci', certificate: given }), {
      code: 'certificate_invalid',
    })
  await refuses('no certificate')
  await refuses('x'.repeat(20_000))
  await refuses(undefined)
  await refuses(await make('ec', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256'))
  world.clock.advance(11 * 24 * HOUR_MS)
  await refuses(certificate)
  await world.ask('principal.remove-credential', { principal: 'ci', credential: made.id })
  await assert.rejects(world.ask('principal.remove-credential', { principal: 'ci', credential: made.id }), {
    code: 'credential_not_found',
  })
  assert.equal((await listCredentials(world.catalog, id)).length, 1)
})
