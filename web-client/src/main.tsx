import './globals.js';
import './style/index.css';
import { render } from 'preact';
import { LocalMedia } from './session/LocalMedia.js';
import { App } from './ui/App.js';

const root = document.getElementById('app');
if (root) {
  if (typeof RTCPeerConnection === 'undefined') {
    root.textContent = 'This browser has no WebRTC. Use a current Firefox, Chrome, Edge or Safari.';
  } else {
    render(<App media={new LocalMedia()} />, root);
  }
}
