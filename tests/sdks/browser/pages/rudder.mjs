import { RudderAnalytics } from '@rudderstack/analytics-js/bundled'
import { sender } from './rudder-calls.mjs'

Object.assign(globalThis, sender(new RudderAnalytics()))
