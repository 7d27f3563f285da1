import assert from 'node:assert/strict'
import { test } from 'node:test'
import { mayReach } from './reachable-address.ts'

test('mayReach() refuses this host, link-local, multicast and unspecified addresses in every spelling', () => {
  for (const address of [
    '127.0.0.1',
    '127.255.0.9',
    '0.0.0.0',
    '0.1.2.3',
    '169.254.169.254',
    '224.0.0.1',
    '255.255.255.255',
    '::',
    '::1',
    '::127.0.0.1',
    '::ffff:127.0.0.1',
    '::ffff:7f00:1',
    '0:0:0:0:0:ffff:a9fe:a9fe',
    '64:ff9b::7f00:1',
    '2002:7f00:1::',
    'fe80::1',
    'fe80::1%eth0',
    'ff02::1',
    'localhost',
    '127.1',
    '2130706433',
    '',
  ])
    assert.equal(mayReach(address), false, address)
})

test('mayReach() takes public addresses and those of private networks', () => {
  for (const address of [
    '93.184.216.34',
    '10.1.2.3',
    '192.168.0.7',
    '172.16.4.1',
    '2606:2800::1',
    'fd00::5',
    '::ffff:10.0.0.1',
  ])
    assert.equal(mayReach(address), true, address)
})
