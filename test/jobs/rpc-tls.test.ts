/** The RPC between hosts: both sides show a certificate of one authority, or there is no connection. */
import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { checkCommand, RpcClient, RpcServer, type TlsIdentity } from '#runtime'

let folder = ''
let ours: TlsIdentity
let theirs: TlsIdentity
let server: RpcServer

/** A certificate of a new authority of its own, for 127.0.0.1. */
async function makeIdentity(name: string): Promise<TlsIdentity> {
  const path = (file: string): string => join(folder, `${name}-${file}`)
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes']
  const authority = ['-x509', '-keyout', path('ca.key'), '-out', path('ca.pem'), '-subj', `/CN=${name}`, '-days', '2']
  await checkCommand('openssl', ['req', ...key, ...authority])
  const request = ['-keyout', path('key.pem'), '-out', path('csr.pem'), '-subj', '/CN=127.0.0.1']
  await checkCommand('openssl', ['req', ...key, ...request])
  writeFileSync(path('ext'), 'subjectAltName=IP:127.0.0.1')
  const signing = [
    '-CA',
    path('ca.pem'),
    '-CAkey',
    path('ca.key'),
    '-CAcreateserial',
    '-extfile',
    path('ext'),
    '-days',
    '2',
  ]
  await checkCommand('openssl', ['x509', '-req', '-in', path('csr.pem'), '-out', path('cert.pem'), ...signing])
  const read = (file: string): string => readFileSync(path(file), 'utf8')
  return { certificate: read('cert.pem'), privateKey: read('key.pem'), authority: read('ca.pem') }
}

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'hf-tls-'))
  ours = await makeIdentity('ours')
  theirs = await makeIdentity('theirs')
  server = await RpcServer.open({
    address: { kind: 'tls', host: '127.0.0.1', port: 0, identity: ours },
    role: 'worker',
    version: '1',
    facts: {},
    methods: { echo: (params) => params },
  })
})
after(async () => {
  await server.close()
  await rm(folder, { recursive: true })
})

function dialAs(identity: TlsIdentity): Promise<RpcClient> {
  assert.equal(server.address.kind, 'tls')
  return RpcClient.open({ ...server.address, identity }, 'control', '1')
}

test('a caller with a certificate of our authority is served', async () => {
  const client = await dialAs(ours)
  assert.deepEqual(await client.call('echo', { disk: 3 }), { disk: 3 })
  client.close()
})

test('a caller of another authority refuses us', async () => {
  await assert.rejects(dialAs(theirs), { code: 'rpc_unreachable' })
})

test('we refuse a caller that trusts us but shows a certificate of another authority', async () => {
  await assert.rejects(dialAs({ ...theirs, authority: ours.authority }), { code: /^rpc_(closed|unreachable)$/ })
})
