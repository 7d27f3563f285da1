/** Our NBD client against nbdkit, with its filters for delay and errors, and qemu-nbd. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdir, writeFile } from 'node:fs/promises'
import { connect, createServer } from 'node:net'
import { join } from 'node:path'
import { before, describe, it } from 'node:test'
import { ManualClock, SeededRandom } from '#base'
import { openNbd, serveNbd, MemoryDevice, stampedBytes } from '#engine/block'
import { codeOf, connectWhenUp, endLater, run, start, testFolder } from './tools.ts'

const MIB = 1024 * 1024
let folder = ''
let content: Buffer = Buffer.alloc(0)
let file = ''
before(async () => {
  folder = await testFolder()
  content = stampedBytes({ disk: 6, version: 3 }, 0, 20 * MIB)
  file = join(folder, 'disk.raw')
  await writeFile(file, content)
})

describe('NbdClient with nbdkit', () => {
  it('reads the right bytes over one and over several connections', async () => {
    const socketPath = join(folder, 'file')
    const kit = start('nbdkit', '-f', '-r', '-U', socketPath, 'file', file)
    for (const connections of [1, 4]) {
      const client = await connectWhenUp({ socketPath, exportName: '', connections })
      assert.equal(client.parallelism, 16 * connections)
      const random = new SeededRandom(connections)
      const reads = Array.from({ length: 200 }, async () => {
        const offset = random.below(content.length)
        const into = Buffer.alloc(1 + random.below(Math.min(300_000, content.length - offset)))
        await client.read(offset, into)
        assert.ok(into.equals(content.subarray(offset, offset + into.length)), `${into.length} bytes at ${offset}`)
      })
      await Promise.all(reads)
      await client.close()
    }
    await kit.stop()
  })

  it('waits for slow replies out of order, and gives up at the deadline', async () => {
    const socketPath = join(folder, 'slow')
    const kit = start('nbdkit', '-f', '-r', '-U', socketPath, '--filter=delay', 'file', file, 'rdelay=200ms')
    const client = await connectWhenUp({ socketPath, exportName: '' })
    const pieces = Array.from({ length: 16 }, (_, i) => ({ offset: i * MIB, into: Buffer.alloc(4096) }))
    await Promise.all(pieces.map((piece) => client.read(piece.offset, piece.into)))
    for (const piece of pieces) assert.ok(piece.into.equals(content.subarray(piece.offset, piece.offset + 4096)))
    await client.close()
    const clock = new ManualClock()
    const hasty = await openNbd({ socketPath, exportName: '', clock, requestTimeoutMs: 1000 })
    const reading = codeOf(hasty.read(0, Buffer.alloc(512)))
    clock.advance(1001)
    assert.equal(await reading, 'nbd_timed_out')
    assert.equal(await codeOf(hasty.read(0, Buffer.alloc(512))), 'nbd_timed_out')
    await hasty.close()
    await kit.stop()
  })

  it('tells which request failed, and goes on with the others', async () => {
    const socketPath = join(folder, 'faulty')
    const args = ['--filter=error', 'file', file, 'error-pread=EIO', 'error-pread-rate=50%']
    const kit = start('nbdkit', '-f', '-r', '-U', socketPath, ...args)
    const client = await connectWhenUp({ socketPath, exportName: '' })
    const codes = await Promise.all(
      Array.from({ length: 60 }, (_, i) => codeOf(client.read(i * 512, Buffer.alloc(512)))),
    )
    assert.deepEqual([...new Set(codes)].sort(), ['nbd_io_error', 'none'])
    await client.close()
    await kit.stop()
  })

  it('says that a full disk is full', async () => {
    const socketPath = join(folder, 'full')
    const kit = start(
      'nbdkit',
      '-f',
      '-U',
      socketPath,
      '--filter=error',
      'memory',
      '10M',
      'error-pwrite=ENOSPC',
      'error-pwrite-rate=100%',
    )
    const client = await connectWhenUp({ socketPath, exportName: '' })
    assert.equal(await codeOf(client.write(0, Buffer.alloc(512, 1))), 'target_full')
    await client.close()
    await kit.stop()
  })

  it('hears at once that the server was killed', async () => {
    const socketPath = join(folder, 'killed')
    const kit = start('nbdkit', '-f', '-r', '-U', socketPath, '--filter=delay', 'file', file, 'rdelay=30')
    const client = await connectWhenUp({ socketPath, exportName: '' })
    const reading = codeOf(client.read(0, Buffer.alloc(512)))
    await kit.stop()
    assert.equal(await reading, 'nbd_disconnected')
    await client.close()
  })

  it('works without structured replies, and with blocks of 4 KiB', async () => {
    const socketPath = join(folder, 'plain')
    const kit = start(
      'nbdkit',
      '-f',
      '-U',
      socketPath,
      '--no-sr',
      '--filter=blocksize-policy',
      'memory',
      '16M',
      'blocksize-minimum=4096',
      'blocksize-error-policy=error',
    )
    const client = await connectWhenUp({ socketPath, exportName: '' })
    assert.equal(client.blockBytesMin, 4096)
    await client.write(4096, content.subarray(4096, 4096 * 5))
    const into = Buffer.alloc(5000)
    await client.read(5001, into)
    assert.ok(into.equals(content.subarray(5001, 10_001)))
    // Neighbours in one block, written at once, do not undo each other.
    const model = Buffer.from(content.subarray(0, 16 * MIB))
      .fill(0, 0, 4096)
      .fill(0, 4096 * 5)
    const parts = Array.from({ length: 40 }, (_, i) => ({ offset: 30_000 + i * 700, length: 700 }))
    await Promise.all(
      parts.map(async ({ offset, length }) => {
        content.copy(model, offset, offset, offset + length)
        await client.write(offset, content.subarray(offset, offset + length))
      }),
    )
    await client.writeZeroes(8000, 30_001)
    model.fill(0, 8000, 38_001)
    const whole = Buffer.alloc(16 * MIB, 0xee)
    await client.read(0, whole)
    assert.ok(whole.equals(model))
    assert.deepEqual(await client.extents(0, 16 * MIB), [{ offset: 0, length: 16 * MIB, kind: 'data' }])
    await client.close()
    await kit.stop()
  })
})

describe('NbdClient with qemu-nbd', () => {
  it('reads a persistent bitmap of a qcow2 image', async () => {
    const [image, socketPath] = [join(folder, 'disk.qcow2'), join(folder, 'qemu')]
    await run('qemu-img', 'create', '-q', '-f', 'qcow2', image, '64M')
    await run('qemu-img', 'bitmap', '--add', '-g', '4096', image, 'hf')
    await run('qemu-io', '-f', 'qcow2', '-c', 'write -P 9 1M 64k', '-c', 'write -P 9 60M 64k', image)
    start('qemu-nbd', '-r', '-t', '-f', 'qcow2', '-B', 'hf', '-k', socketPath, image)
    const context = 'qemu:dirty-bitmap:hf'
    const client = await connectWhenUp({ socketPath, exportName: '', metaContexts: [context] })
    endLater(() => client.close())
    assert.deepEqual(await client.dirtyExtents(context, 0, 64 * MIB), [
      { offset: MIB, length: 65_536 },
      { offset: 60 * MIB, length: 65_536 },
    ])
    const kinds = (await client.extents(0, 64 * MIB)).map((extent) => extent.kind)
    assert.deepEqual(kinds, ['hole', 'data', 'hole', 'data', 'hole'])
    await client.close()
  })
})

describe('NBD over TLS', () => {
  let certificates = ''
  before(async () => {
    certificates = join(folder, 'pki')
    await mkdir(certificates)
    await makeCertificates(certificates)
  })
  const pem = (name: string): string => join(certificates, `${name}.pem`)

  async function serve(clientCaFile?: string) {
    const device = MemoryDevice.from(content)
    const tls = { certFile: pem('server'), keyFile: pem('server-key'), ...(clientCaFile && { clientCaFile }) }
    const server = await serveNbd({
      listen: { host: '127.0.0.1', port: 0, tls },
      exports: () => ({ source: device, target: device }),
    })
    endLater(server.close)
    return { server, address: { host: '127.0.0.1', port: server.port ?? 0, exportName: '' } }
  }

  it('joins our client and our server, and checks the certificate', async () => {
    const { server, address } = await serve()
    const client = await openNbd({ ...address, tls: { caFile: pem('ca') } })
    const into = Buffer.alloc(3 * MIB)
    await client.read(1000, into)
    assert.ok(into.equals(content.subarray(1000, 1000 + into.length)))
    await client.write(5, into)
    await client.close()
    assert.equal(await codeOf(openNbd({ ...address, tls: { caFile: pem('other-ca') } })), 'nbd_tls_failed')
    const wrongName = { caFile: pem('ca'), serverName: 'elsewhere.example' }
    assert.equal(await codeOf(openNbd({ ...address, tls: wrongName })), 'nbd_tls_failed')
    assert.equal(await codeOf(openNbd(address)), 'nbd_refused')
    await server.close()
  })

  it('asks clients for a certificate when told to', async () => {
    const { server, address } = await serve(pem('ca'))
    const tls = { caFile: pem('ca') }
    const known = await openNbd({ ...address, tls: { ...tls, certFile: pem('client'), keyFile: pem('client-key') } })
    await known.read(0, Buffer.alloc(512))
    await known.close()
    assert.match(await codeOf(openNbd({ ...address, tls })), /^nbd_(tls_failed|disconnected)$/)
    await server.close()
  })

  it('serves nbdinfo and nbdcopy, and is served by nbdkit', async () => {
    const { server, address } = await serve()
    const uri = `nbds://127.0.0.1:${address.port}/?tls-certificates=${certificates}`
    assert.equal((await run('nbdinfo', '--size', uri)).trim(), String(content.length))
    await run('nbdcopy', uri, join(folder, 'over-tls.raw'))
    await run('cmp', join(folder, 'over-tls.raw'), file)
    const plain = `nbd://127.0.0.1:${address.port}/`
    assert.equal(await codeOf(run('nbdinfo', plain)), 'command_failed')
    await server.close()
    const port = String(20_000 + (process.pid % 20_000))
    start(
      'nbdkit',
      '-f',
      '-r',
      '-i',
      '127.0.0.1',
      '-p',
      port,
      '--tls=require',
      `--tls-certificates=${certificates}`,
      'file',
      file,
    )
    const client = await connectWhenUp({
      host: '127.0.0.1',
      port: Number(port),
      exportName: '',
      tls: { caFile: pem('ca') },
    })
    const into = Buffer.alloc(2 * MIB)
    await client.read(MIB + 3, into)
    assert.ok(into.equals(content.subarray(MIB + 3, 3 * MIB + 3)))
    await client.close()
  })

  it('takes nothing that was slipped in as plain text around STARTTLS, on either side', async () => {
    const ends: unknown[] = []
    const server = await serveNbd({
      listen: { host: '127.0.0.1', port: 0, tls: { certFile: pem('server'), keyFile: pem('server-key') } },
      exports: () => ({ source: MemoryDevice.from(content) }),
      onClientEnd: (error) => ends.push((error as { code?: string } | undefined)?.code),
    })
    endLater(server.close)
    const startTls = Buffer.concat([
      Buffer.from([0, 0, 0, 3]),
      Buffer.from('IHAVEOPT'),
      Buffer.from([0, 0, 0, 5, 0, 0, 0, 0]),
    ])
    for (const after of ['IHAVEOPT and more in the same packet', '']) {
      const socket = connect(server.port ?? 0, '127.0.0.1')
      socket.on('error', () => {
        // A reset is one of the ways in which the server may drop it.
      })
      socket.write(Buffer.concat([startTls, Buffer.from(after)]))
      await once(socket, 'data')
      if (after === '') {
        await once(socket, 'data')
        socket.write(Buffer.alloc(500, 0x47))
      }
      socket.resume()
      await once(socket, 'close')
    }
    assert.deepEqual(ends, ['nbd_protocol_violation', 'nbd_tls_failed'])

    const liar = createServer((socket) => {
      socket.on('error', () => {
        // The client hangs up.
      })
      socket.write('NBDMAGICIHAVEOPT\0\x03', 'latin1')
      const ack = Buffer.from('0003e889045565a9000000050000000100000000', 'hex')
      socket.once('data', () => socket.write(Buffer.concat([ack, Buffer.from('0003e889045565a9', 'hex')])))
    }).listen(0, '127.0.0.1')
    await once(liar, 'listening')
    const address = liar.address()
    const port = typeof address === 'object' && address !== null ? address.port : 0
    const tls = { caFile: pem('ca') }
    assert.equal(await codeOf(openNbd({ host: '127.0.0.1', port, exportName: '', tls })), 'nbd_protocol_violation')
    liar.close()
  })

  it('refuses a server that offers no TLS', async () => {
    const server = await serveNbd({
      listen: { host: '127.0.0.1', port: 0 },
      exports: () => ({ source: MemoryDevice.from(content) }),
    })
    const address = { host: '127.0.0.1', port: server.port ?? 0, exportName: '', tls: { caFile: pem('ca') } }
    assert.equal(await codeOf(openNbd(address)), 'nbd_refused')
    await server.close()
  })
})

/** Two authorities, a server for 127.0.0.1 and a client; also under the names that GnuTLS programs look for. */
async function makeCertificates(into: string): Promise<void> {
  const at = (name: string): string => join(into, `${name}.pem`)
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2']
  for (const ca of ['ca', 'other-ca']) {
    await run('openssl', 'req', '-x509', ...key, '-subj', `/CN=${ca}`, '-keyout', at(`${ca}-key`), '-out', at(ca))
  }
  for (const name of ['server', 'client']) {
    const signed = ['-CA', at('ca'), '-CAkey', at('ca-key'), '-addext', 'subjectAltName=IP:127.0.0.1']
    const usage = ['-addext', `extendedKeyUsage=${name}Auth`, '-addext', 'basicConstraints=critical,CA:false']
    await run(
      'openssl',
      'req',
      '-x509',
      ...key,
      ...signed,
      ...usage,
      '-subj',
      `/CN=${name}`,
      '-keyout',
      at(`${name}-key`),
      '-out',
      at(name),
    )
  }
  for (const [from, to] of [
    ['ca', 'ca-cert'],
    ['server', 'server-cert'],
    ['client', 'client-cert'],
  ] as const) {
    await run('cp', at(from), at(to))
  }
}
