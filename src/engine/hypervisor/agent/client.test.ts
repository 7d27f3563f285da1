import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, it } from 'node:test'
import { isHoldfastError } from '#base'
import { systemClock } from '#runtime'
import { LineSplitter } from '../qmp/line-splitter.ts'
import { AgentClient, withAgent } from './client.ts'
import { freezeGuest, guestExec, thawGuest } from './guest.ts'

type Request = { execute: string; arguments: Record<string, unknown> }
type Answer = (value: unknown) => void

let folder: string
let path: string
let server: Server
const sockets = new Set<Socket>()

/** An agent at the edge of the world. `leftover` is what an earlier conversation left in the channel. */
async function agent(script: (request: Request, answer: Answer) => void, leftover = ''): Promise<void> {
  server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => {
      // The client under test may hang up at any moment.
    })
    socket.write(leftover)
    const splitter = new LineSplitter()
    socket.on('data', (bytes: Buffer) => {
      for (const line of splitter.push(bytes)) {
        const request = JSON.parse(line.subarray(line.lastIndexOf(0xff) + 1).toString()) as Request
        const send: Answer = (value) => socket.write(`${JSON.stringify(value)}\n`)
        if (request.execute !== 'guest-sync-delimited') script(request, send)
        else
          socket.write(
            Buffer.concat([Buffer.of(0xff), Buffer.from(`{"return": ${request.arguments['id'] as number}}\n`)]),
          )
      }
    })
  })
  await new Promise<void>((resolve) => server.listen(path, resolve))
}

const options = { clock: systemClock, lockTimeoutMs: 100, readyTimeoutMs: 2_000 }
const hasCode = (code: string) => (error: unknown) => isHoldfastError(error, code)

describe('AgentClient', () => {
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'hf-qga-'))
    path = join(folder, 'qga')
  })
  afterEach(async () => {
    for (const socket of sockets) socket.destroy()
    sockets.clear()
    await new Promise<void>((resolve) => server.close(() => resolve()))
    await rm(folder, { recursive: true })
  })

  it('skips what an earlier conversation left in the channel', async () => {
    await agent((_request, answer) => answer({ return: 'mine' }), '"torn}\n{"return": "another\'s"}\n{"return": 12}')
    assert.equal(await withAgent(path, options, (client) => client.command('guest-ping')), 'mine')
  })

  it('does not take a late answer for the next command', async () => {
    let late: Answer | undefined
    await agent((request, answer) => {
      if (request.execute === 'slow') late = answer
      else if (request.execute === 'next') {
        late?.({ return: 'late' })
        answer({ return: 'next' })
      }
    })
    const client = await AgentClient.open(path, options)
    await assert.rejects(client.command('slow', {}, { timeoutMs: 30 }), hasCode('timed_out'))
    late?.({ return: 'late' })
    late = undefined
    assert.equal(await client.command('next'), 'next')
    await client.close()
  })

  it('lets one conversation run at a time and the next one after it', async () => {
    await agent((_request, answer) => answer({ return: 1 }))
    const first = await AgentClient.open(path, options)
    await assert.rejects(AgentClient.open(path, options), hasCode('agent_busy'))
    const second = AgentClient.open(path, { ...options, lockTimeoutMs: 5_000 })
    await first.close()
    assert.equal(await (await second).command('x'), 1)
    await (await second).close()
  })

  it('gives the turn back when the agent is not there', async () => {
    await agent(() => {})
    const absent = join(folder, 'absent')
    for (const _ of [1, 2]) await assert.rejects(AgentClient.open(absent, options), hasCode('agent_unavailable'))
  })

  it('types the refusal of a frozen agent', async () => {
    const desc = 'Command guest-exec has been disabled: the agent is in frozen state'
    await agent((_request, answer) => answer({ error: { class: 'CommandNotFound', desc } }))
    await withAgent(path, options, async (client) => {
      await assert.rejects(client.command('guest-exec'), hasCode('agent_frozen'))
    })
  })

  it('fails the freeze with what the hook said', async () => {
    const desc = 'fsfreeze hook has failed with status 1'
    await agent((_request, answer) => answer({ error: { class: 'GenericError', desc } }))
    await withAgent(path, options, async (client) => {
      await assert.rejects(freezeGuest(client), (error: unknown) => {
        assert.ok(isHoldfastError(error, 'freeze_failed'))
        assert.equal(error.facts['desc'], desc)
        return true
      })
    })
  })

  it('collects the output of a program, and a death by signal as 128 + signal', async () => {
    let polls = 0
    await agent((request, answer) => {
      if (request.execute === 'guest-exec') return answer({ return: { pid: 77 } })
      polls += 1
      if (polls === 1) return answer({ return: { exited: false } })
      answer({ return: { exited: true, signal: 9, 'out-data': Buffer.from('héllo').toString('base64') } })
    })
    const result = await withAgent(path, options, (client) =>
      guestExec(client, systemClock, { path: '/bin/true', timeoutMs: 5_000 }),
    )
    assert.equal(result.exitCode, 137)
    assert.equal(result.stdout.toString(), 'héllo')
    assert.equal(polls, 2)
  })

  it('counts thawed file systems and refuses an answer that is no number', async () => {
    let answerWith: unknown = 2
    await agent((_request, answer) => answer({ return: answerWith }))
    await withAgent(path, options, async (client) => {
      assert.equal(await thawGuest(client), 2)
      answerWith = 'two'
      await assert.rejects(thawGuest(client), hasCode('agent_command_failed'))
    })
  })
})
