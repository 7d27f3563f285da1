/**
 * Two hundred machines of one image (thirty, but with --long): all are made, those for which the host has room run and are who they were asked to be, and the
 * last of them outlives the image and all the others. How long it takes and what it takes on the disk is told by bench/images.ts.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MIB } from '#base'
import { IS_LONG } from '../rig/long.ts'
import { VERSION } from './api-world.ts'
import { FLEET_KEY, Fleet, KNOWN_BYTES, spaceOf } from './fleet.ts'

const [MACHINES, RUNNING] = IS_LONG ? [200, 8] : [30, 4]
/** OS disk of the fleet's image: the micro guest's own and the known bytes. */
const DISK_BYTES = 256 * MIB + KNOWN_BYTES

test(`${MACHINES} machines of one image, ${RUNNING} of them running`, async (t) => {
  await using fleet = await Fleet.make(RUNNING)
  await fleet.prepare()
  let running: number[] = []

  await t.test('all are made whole; those without room are deallocated and say why; they share one base', async () => {
    await fleet.deploy(MACHINES)
    const lines = await fleet.powers(MACHINES)
    running = lines.flatMap(({ code }, at) => (code === 'PowerState/running' ? [at] : []))
    assert.equal(running.length, RUNNING)
    for (const [at, { code, message }] of lines.entries()) {
      if (running.includes(at)) continue
      assert.equal(code, 'PowerState/deallocated', `web${at}`)
      assert.match(String(message), /made and not started.*192 MiB/, `web${at}`)
    }
    const [disks, bases] = [await spaceOf(`${fleet.pool}/disks`), await spaceOf(`${fleet.pool}/bases`)]
    assert.deepEqual([disks.files, bases.files], [MACHINES, 1])
  })

  await t.test('those that run are who they were asked to be, and nobody twice', async () => {
    const found: string[][] = []
    await fleet.all(running, async (at) => {
      const read = 'hostname; cat /etc/machine-id; dropbearkey -y -f /etc/dropbear/host_key | grep ^ssh-'
      const own = (await fleet.run(at, read)).trim().split('\n')
      assert.equal(own[0], `web${at}`)
      assert.equal((await fleet.run(at, 'cat /home/ops/.ssh/authorized_keys')).trim(), FLEET_KEY)
      found.push(own)
      const { instanceView } = (await fleet.show(at)).properties
      assert.equal(instanceView?.vmAgent?.statuses[0]?.displayStatus, 'Ready', `web${at}`)
    })
    for (const part of [0, 1, 2]) assert.equal(new Set(found.map((own) => own[part])).size, RUNNING, `part ${part}`)
  })

  await t.test('neighbours reach each other by name; nothing outside of their subnet is reached', async () => {
    const [one, ...others] = running
    const tries = (other: number): string =>
      `for i in $(seq 20); do ping -c 1 -W 2 web${other} > /dev/null 2>&1 && exit 0; sleep 1; done; exit 1`
    for (const other of others) await fleet.run(one ?? 0, tries(other))
    await assert.rejects(fleet.run(one ?? 0, 'nslookup example.com'))
    await assert.rejects(fleet.run(one ?? 0, 'ping -c 1 -W 2 198.18.0.2'))
  })

  await t.test('image and all machines but one go; the last reads all of its disk and boots again', async () => {
    const [last = 0] = running
    await fleet.do('DELETE', fleet.id('Microsoft.Compute/images', 'img'))
    const gone = [...Array(MACHINES).keys()].filter((at) => at !== last)
    await fleet.all(gone, (at) => fleet.do('DELETE', fleet.machineId(at)))
    const left = await fleet.client.ask<{ value: { name: string }[] }>('GET', `${fleet.group}/resources?${VERSION}`)
    const names = left.body.value.map(({ name }) => name).filter((name) => name.startsWith('web'))
    assert.equal(names.length, 3, `the last one, its disk and its card: ${names.join(' ')}`)
    const [disks, bases] = [await spaceOf(`${fleet.pool}/disks`), await spaceOf(`${fleet.pool}/bases`)]
    assert.deepEqual([disks.files, bases.files], [1, 1], 'its base stays for as long as it does')

    const known = `tail -c ${KNOWN_BYTES} /dev/vda | sha256sum`
    assert.equal(await fleet.run(last, 'cat /dev/vda | wc -c'), `${DISK_BYTES}\n`)
    assert.equal((await fleet.run(last, known)).split(' ')[0], fleet.sha256)
    await fleet.run(last, 'echo kept > /root/note && sync')
    await fleet.follow(await fleet.client.ask('POST', `${fleet.machineId(last)}/restart?${VERSION}`))
    assert.equal(await fleet.run(last, 'cat /root/note; hostname'), `kept\nweb${last}\n`)
    assert.equal((await fleet.run(last, known)).split(' ')[0], fleet.sha256)

    await fleet.do('DELETE', fleet.machineId(last))
    assert.equal((await spaceOf(`${fleet.pool}/bases`)).files, 0, 'and goes with it')
  })
})
